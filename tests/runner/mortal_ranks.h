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
#include <cstdio>
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

/// How a rank's work on a comm that loses a rank ended.
struct Ended {
  tw_status_t status = TW_OK;
  std::string sentence;
};

/// What a mortal rank does.
struct MortalWork {
  /// Calls on `comm` until one fails; `die` kills the victim and does nothing in others.
  std::function<Ended(tw_comm_t comm, int rank, const std::function<void()>& die)> until_it_fails;
  /// The survivors' work on what is left of the comm: "", or what is wrong.
  std::function<std::string(tw_comm_t rest, int rank)> go_on;
};

/// `n` ranks, each a process, of which `victim` dies in the middle of its work: the others get
/// PEER_LOST, which names it, within a second, shrink the comm and go on.
inline void run_mortal_ranks(int n, int victim, const MortalWork& work) {
  struct Words {
    std::atomic<int64_t> died;
    std::atomic<int64_t> noticed[TW_MAX_RANKS];
    char complaint[TW_MAX_RANKS][512];
  };
  const InSharedMemory<Words> words;
  const Root root;
  const auto complain = [&](int rank, const std::string& what) {
    std::snprintf(words->complaint[rank], sizeof words->complaint[rank], "%s: %s", what.c_str(),
                  tw_last_error());
    _exit(1);
  };
  const auto body = [&](int rank) {
    tw_comm_t comm = nullptr, rest = nullptr;
    if (tw_comm_create(n, rank, &root.id(), nullptr, &comm) != TW_OK) complain(rank, "create");
    const Ended ended = work.until_it_fails(comm, rank, [&] {
      if (rank != victim) return;
      words->died = now_us();
      raise(SIGKILL);
    });
    words->noticed[rank] = now_us();
    if (ended.status != TW_ERROR_PEER_LOST ||
        ended.sentence.find("rank " + std::to_string(victim)) == std::string::npos)
      complain(rank, "ended with \"" + ended.sentence + "\"");
    if (tw_comm_shrink(comm, nullptr, &rest) != TW_OK) complain(rank, "shrink");
    if (const std::string wrong = work.go_on(rest, rank); !wrong.empty()) complain(rank, wrong);
    if (tw_comm_destroy(rest) != TW_OK || tw_comm_destroy(comm) != TW_OK) complain(rank, "destroy");
    _exit(0);
  };
  std::vector<pid_t> ranks;
  for (int rank = 0; rank < n; ++rank) {
    const pid_t pid = fork();
    if (pid == 0) {
      alarm(60);
      body(rank);
    }
    ranks.push_back(pid);
  }
  for (int rank = 0; rank < n; ++rank) {
    int status = 0;
    waitpid(ranks[static_cast<size_t>(rank)], &status, 0);
    if (rank == victim) {
      EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "status " << status;
      continue;
    }
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
        << "rank " << rank << ": " << words->complaint[rank];
    EXPECT_LT(words->noticed[rank] - words->died, 1000000) << "rank " << rank;
  }
}

}  // namespace tw::test
