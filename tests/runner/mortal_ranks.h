// For tests whose ranks are processes that die or stop. The parent makes no comm, so that its
// children may; what they tell it lies in memory that all share.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <new>
#include <string>
#include <vector>

#include "tilewire.h"

namespace tw::test {

inline int64_t now_us() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

inline void sleep_us(int64_t us) {
  const timespec t = {us / 1000000, us % 1000000 * 1000};
  nanosleep(&t, nullptr);
}

/// A T in memory that this process and the children that it forks later share.
template <class T>
class InSharedMemory {
 public:
  InSharedMemory() {
    void* at = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) std::abort();
    object_ = new (at) T{};
  }
  InSharedMemory(const InSharedMemory&) = delete;
  InSharedMemory& operator=(const InSharedMemory&) = delete;
  ~InSharedMemory() { munmap(object_, sizeof(T)); }

  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }

 private:
  T* object_;
};

/// A process that listens for the ranks, as tw_run does.
class Root {
 public:
  Root() {
    pid_ = fork();
    if (pid_ == 0) {
      alarm(100);
      if (tw_unique_id_create(&said_->id) == TW_OK) said_->ready.store(1);
      for (;;) pause();
    }
    while (said_->ready.load() == 0) sleep_us(100);
  }
  Root(const Root&) = delete;
  Root& operator=(const Root&) = delete;
  ~Root() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  const tw_unique_id_t& id() const { return said_->id; }

 private:
  struct Said {
    std::atomic<int> ready;
    tw_unique_id_t id;
  };
  InSharedMemory<Said> said_;
  pid_t pid_;
};

/// Runs `body(rank)`, which exits, in a process for each of `n` ranks. `victim` kills itself, all
/// others exit with 0, or `complaint(rank)` says why not.
inline void run_mortal_ranks(int n, int victim, const std::function<void(int)>& body,
                             const std::function<std::string(int)>& complaint) {
  std::vector<pid_t> ranks;
  for (int rank = 0; rank < n; ++rank) {
    const pid_t pid = fork();
    if (pid == 0) {
      alarm(60);
      body(rank);
      _exit(1);
    }
    ranks.push_back(pid);
  }
  for (int rank = 0; rank < n; ++rank) {
    int status = 0;
    waitpid(ranks[static_cast<size_t>(rank)], &status, 0);
    if (rank == victim)
      EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "status " << status;
    else
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
          << "rank " << rank << ": " << complaint(rank);
  }
}

}  // namespace tw::test
