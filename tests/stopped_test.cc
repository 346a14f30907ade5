// Ranks that stop for a while inside calls: a time-out on the others, and an error on the one that
// goes on. Every rank is a process.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "tests/runner/mortal_ranks.h"
#include "tilewire.h"

namespace tw::test {
namespace {

struct Shared {
  std::atomic<int> call[2];  // number of the call that the rank is in, from 1; 0 = in none
  char complaint[2][256];
};

/// Says what a rank saw, and leaves.
[[noreturn]] void leave(Shared& shared, int rank, int exit_status) {
  std::snprintf(shared.complaint[rank], sizeof shared.complaint[rank], "%s", tw_last_error());
  _exit(exit_status);
}

tw_comm_t create(const Root& root, int rank, int64_t timeout_ms, Shared& shared) {
  alarm(60);
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.timeout_ms = timeout_ms;
  tw_comm_t comm;
  if (tw_comm_create(2, rank, &root.id(), &config, &comm) != TW_OK) leave(shared, rank, 2);
  return comm;
}

void expect_exit_0(pid_t rank, const char* complaint) {
  int status;
  waitpid(rank, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
      << "status " << status << ", exit " << WEXITSTATUS(status) << ": " << complaint;
}

/// Rank 1 stops before an all-reduce; rank 0 must get a time-out that says where; then rank 1 goes
/// on and finds the comm ended.
TEST(Stopped, BeforeACallIsATimeOutAndMayResume) {
  const InSharedMemory<Shared> shared;
  const Root root;
  const auto rank_body = [&](int rank) {
    const tw_comm_t comm = create(root, rank, 300, *shared);
    float x = 1;
    for (int i = 0; i < 3; ++i)
      if (tw_all_reduce(&x, &x, 1, TW_FP32, TW_SUM, comm, nullptr) != TW_OK)
        leave(*shared, rank, 3);
    if (rank == 1) raise(SIGSTOP);
    const int64_t start = now_us();
    const tw_status_t status = tw_all_reduce(&x, &x, 1, TW_FP32, TW_SUM, comm, nullptr);
    const int64_t took = now_us() - start;
    if (status != TW_ERROR_TIMEOUT) leave(*shared, rank, 4);
    const char* said = tw_last_error();
    if (rank == 0 && (took < 290'000 || took > 1'300'000)) leave(*shared, rank, 5);
    if (rank == 0 &&
        (std::strstr(said, "rank 1") == nullptr || std::strstr(said, "all_reduce") == nullptr ||
         std::strstr(said, "call 4") == nullptr))
      leave(*shared, rank, 6);
    leave(*shared, rank, tw_comm_destroy(comm) == TW_OK ? 0 : 7);
  };
  pid_t ranks[2];
  for (int rank = 0; rank < 2; ++rank)
    if ((ranks[rank] = fork()) == 0) rank_body(rank);
  expect_exit_0(ranks[0], shared->complaint[0]);
  kill(ranks[1], SIGCONT);
  expect_exit_0(ranks[1], shared->complaint[1]);
}

/// Stops `rank` at any moment inside a call. False when it has ended instead.
bool stop_inside(const Shared& shared, int rank, pid_t pid, std::mt19937& random) {
  for (;;) {
    sleep_us(static_cast<int64_t>(random() % 20'000));
    kill(pid, SIGSTOP);
    int status;
    waitpid(pid, &status, WUNTRACED);
    if (!WIFSTOPPED(status)) return false;
    if (shared.call[rank].load() > 2) return true;
    kill(pid, SIGCONT);
  }
}

/// Rank 1 is stopped from outside, anywhere in a long all-reduce of private memory.
TEST(Stopped, InsideALongCallIsATimeOutAndMayResume) {
  constexpr size_t kCount = (size_t{64} << 20) / sizeof(float);
  const InSharedMemory<Shared> shared;
  const auto rank_body = [&](const Root& root, int rank) {
    const tw_comm_t comm = create(root, rank, 1000, *shared);
    std::vector<float> data(kCount, 1), sum(kCount);
    tw_status_t status = TW_OK;
    for (int call = 1; status == TW_OK; ++call) {
      shared->call[rank].store(call);
      status = tw_all_reduce(data.data(), sum.data(), kCount, TW_FP32, TW_SUM, comm, nullptr);
      shared->call[rank].store(0);
    }
    if (status != TW_ERROR_TIMEOUT) leave(*shared, rank, 4);
    const char* said = tw_last_error();
    if (std::strstr(said, "rank 1") == nullptr || std::strstr(said, "all_reduce") == nullptr)
      leave(*shared, rank, 5);
    leave(*shared, rank, tw_comm_destroy(comm) == TW_OK ? 0 : 6);
  };
  std::mt19937 random(1);
  for (int trial = 0; trial < 3; ++trial) {
    for (auto& call : shared->call) call.store(0);
    const Root root;
    pid_t ranks[2];
    for (int rank = 0; rank < 2; ++rank)
      if ((ranks[rank] = fork()) == 0) rank_body(root, rank);
    EXPECT_TRUE(stop_inside(*shared, 1, ranks[1], random)) << shared->complaint[1];
    expect_exit_0(ranks[0], shared->complaint[0]);
    kill(ranks[1], SIGCONT);
    expect_exit_0(ranks[1], shared->complaint[1]);
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace tw::test
