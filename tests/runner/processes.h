// Ranks as processes, forked by a test whose own process never makes a comm.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <vector>

#include "tilewire.h"

namespace tw::test {

/// Runs `body(rank, comm)` in `n` forked processes; it returns the exit status, 0 = good.
inline void run_processes(int n, const std::function<int(int, tw_comm_t)>& body) {
  // The parent makes no comm, so its children may use the library.
  std::vector<pid_t> children;
  int ids[2];
  ASSERT_EQ(pipe(ids), 0);
  for (int rank = 0; rank < n; ++rank) {
    const pid_t pid = fork();
    ASSERT_GE(pid, 0);
    if (pid != 0) {
      children.push_back(pid);
      continue;
    }
    alarm(60);
    tw_unique_id_t id;
    if (rank == 0) {
      if (tw_unique_id_create(&id) != TW_OK) _exit(10);
      for (int i = 1; i < n; ++i)
        if (write(ids[1], &id, sizeof id) != sizeof id) _exit(11);
    } else if (read(ids[0], &id, sizeof id) != sizeof id) {
      _exit(12);
    }
    tw_comm_t comm;
    if (tw_comm_create(n, rank, &id, nullptr, &comm) != TW_OK) {
      std::fprintf(stderr, "rank %d: %s\n", rank, tw_last_error());
      _exit(13);
    }
    const int result = body(rank, comm);
    if (tw_comm_destroy(comm) != TW_OK) {
      std::fprintf(stderr, "rank %d: %s\n", rank, tw_last_error());
      _exit(14);
    }
    _exit(result);
  }
  for (const pid_t pid : children) {
    int status;
    ASSERT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
  }
  close(ids[0]);
  close(ids[1]);
}

}  // namespace tw::test
