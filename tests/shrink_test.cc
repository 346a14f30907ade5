// Deaths while the survivors of a comm make a new one. Every rank is a process.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "tests/runner/mortal_ranks.h"
#include "tilewire.h"

namespace tw::test {
namespace {

constexpr int kRanks = 4;

struct Shared {
  std::atomic<int> died_late;  // the second victim had built the new comm; the leaver has left
  char complaint[kRanks][256];
};

[[noreturn]] void complain(Shared& shared, int rank, int exit_status) {
  std::snprintf(shared.complaint[rank], sizeof shared.complaint[rank], "%s", tw_last_error());
  _exit(exit_status);
}

/// Ends this process when the library says that the rank has built the comm "rest": the others may
/// have built it too, but nobody has heard yet that this one has.
void die_when_built(tw_log_level_t /*level*/, const char* line, void* shared) {
  if (std::strncmp(line, "rest: rank ", 11) != 0) return;
  static_cast<Shared*>(shared)->died_late.store(1);
  raise(SIGKILL);
}

/// Ranks 0 and 1 alone go on.
[[noreturn]] void go_on(Shared& shared, int rank, tw_comm_t comm, const tw_comm_config_t& config) {
  tw_comm_t rest;
  if (tw_comm_shrink(comm, &config, &rest) != TW_OK) complain(shared, rank, 3);
  int size;
  tw_comm_size(rest, &size);
  if (size != 2) complain(shared, rank, 10 + size);
  float sum = static_cast<float>(rank + 1);
  if (tw_all_reduce(&sum, &sum, 1, TW_FP32, TW_SUM, rest, nullptr) != TW_OK || sum != 3)
    complain(shared, rank, 4);
  if (tw_comm_destroy(rest) != TW_OK || tw_comm_destroy(comm) != TW_OK) complain(shared, rank, 5);
  _exit(0);
}

[[noreturn]] void run_rank(Shared& shared, const Root& root, int rank) {
  alarm(60);
  tw_comm_t comm;
  if (tw_comm_create(kRanks, rank, &root.id(), nullptr, &comm) != TW_OK) complain(shared, rank, 2);
  while (tw_barrier(comm, nullptr) == TW_OK)
    if (rank == 3) raise(SIGKILL);
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.name = "rest";
  if (rank == 2) tw_log_set(die_when_built, &shared, TW_LOG_INFO);
  go_on(shared, rank, comm, config);
}

// A comm is good when every member has said that it has it. Rank 2 dies before it says so: what the
// others have built is thrown away, and they make one without it.
TEST(Shrink, AMemberThatDiesBeforeItIsDoneIsNotInTheNewComm) {
  for (int trial = 0; trial < 5; ++trial) {
    const InSharedMemory<Shared> shared;
    const Root root;
    std::vector<pid_t> ranks;
    for (int rank = 0; rank < kRanks; ++rank) {
      const pid_t pid = fork();
      if (pid == 0) run_rank(*shared, root, rank);
      ranks.push_back(pid);
    }
    for (int rank = 0; rank < kRanks; ++rank) {
      int status;
      waitpid(ranks[static_cast<size_t>(rank)], &status, 0);
      if (rank >= 2)
        EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "rank " << rank;
      else
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
            << "rank " << rank << ": " << WEXITSTATUS(status) << ": " << shared->complaint[rank];
    }
    EXPECT_EQ(shared->died_late.load(), 1);
  }
}

// A process that ends after it destroyed its comm is no dead rank to those who still have theirs.
TEST(Shrink, AProcessThatLeftInOrderIsNotLost) {
  const InSharedMemory<Shared> shared;
  const Root root;
  const auto create = [&](int rank) {
    alarm(60);
    tw_comm_t comm;
    if (tw_comm_create(2, rank, &root.id(), nullptr, &comm) != TW_OK) complain(*shared, rank, 2);
    if (tw_barrier(comm, nullptr) != TW_OK) complain(*shared, rank, 3);
    return comm;
  };
  const pid_t leaver = fork();
  if (leaver == 0) {
    const tw_comm_t comm = create(1);
    _exit(tw_comm_destroy(comm) == TW_OK ? 0 : 4);
  }
  const pid_t stayer = fork();
  if (stayer == 0) {
    const tw_comm_t comm = create(0);
    while (shared->died_late.load() == 0) sleep_us(1000);
    sleep_us(100000);  // for the hang-up to be seen
    if (tw_comm_error(comm, nullptr, nullptr) != TW_OK) complain(*shared, 0, 5);
    tw_status_t status;
    tw_comm_error(comm, &status, nullptr);
    if (status != TW_OK) complain(*shared, 0, 100 + static_cast<int>(status));
    _exit(tw_comm_destroy(comm) == TW_OK ? 0 : 6);
  }
  int status;
  waitpid(leaver, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  shared->died_late.store(1);
  waitpid(stayer, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
      << WEXITSTATUS(status) << ": " << shared->complaint[0];
}

// A rank that has destroyed the comm will never ask for a new one: the others need not wait.
TEST(Shrink, ARankThatHasDestroyedTheCommIsNotWaitedFor) {
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.timeout_ms = 20000;
  tw_comm_t comms[3];
  ASSERT_EQ(tw_comm_create_all(3, &config, comms), TW_OK) << tw_last_error();
  ASSERT_EQ(tw_comm_destroy(comms[2]), TW_OK) << tw_last_error();
  const int64_t begin = now_us();
  const auto survive = [&](int rank) {
    float x = 1;
    EXPECT_EQ(tw_all_reduce(&x, &x, 1, TW_FP32, TW_SUM, comms[rank], nullptr), TW_ERROR_PEER_LOST)
        << tw_last_error();
    tw_comm_t rest;
    ASSERT_EQ(tw_comm_shrink(comms[rank], &config, &rest), TW_OK) << tw_last_error();
    int size;
    EXPECT_EQ(tw_comm_size(rest, &size), TW_OK);
    EXPECT_EQ(size, 2);
    EXPECT_EQ(tw_all_reduce(&x, &x, 1, TW_FP32, TW_SUM, rest, nullptr), TW_OK) << tw_last_error();
    EXPECT_EQ(x, 2);
    EXPECT_EQ(tw_comm_destroy(rest), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_comm_destroy(comms[rank]), TW_OK) << tw_last_error();
  };
  std::thread other(survive, 1);
  survive(0);
  other.join();
  EXPECT_LT(now_us() - begin, 5000000);
}

}  // namespace
}  // namespace tw::test
