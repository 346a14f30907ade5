// tw_barrier: nobody leaves before everybody entered.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

class Barrier : public testing::TestWithParam<int> {};

TEST_P(Barrier, NobodyLeavesBeforeEverybodyEntered) {
  const int n = GetParam();
  const ThreadRanks ranks(n);
  constexpr int kRounds = 50;
  std::atomic<int> entered{0};
  ranks.run([&](int rank, tw_comm_t comm) {
    for (int round = 1; round <= kRounds; ++round) {
      if (round % 10 == 0 && rank == (round / 10) % n)
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      entered.fetch_add(1, std::memory_order_relaxed);
      ASSERT_EQ(tw_barrier(comm, nullptr), TW_OK) << tw_last_error();
      ASSERT_GE(entered.load(std::memory_order_relaxed), round * n);
    }
  });
  EXPECT_EQ(entered.load(), kRounds * n);
}

TEST_P(Barrier, OrdersPlainMemory) {
  // Plain writes before the barrier are read after it by the neighbour: ThreadSanitizer checks.
  const int n = GetParam();
  const ThreadRanks ranks(n);
  std::vector<int> values(n);
  ranks.run([&](int rank, tw_comm_t comm) {
    for (int round = 0; round < 20; ++round) {
      values[rank] = round * 100 + rank;
      ASSERT_EQ(tw_barrier(comm, nullptr), TW_OK) << tw_last_error();
      const int next = (rank + 1) % n;
      ASSERT_EQ(values[next], round * 100 + next);
      ASSERT_EQ(tw_barrier(comm, nullptr), TW_OK) << tw_last_error();
    }
  });
}

TEST_P(Barrier, OnStreams) {
  const int n = GetParam();
  const ThreadRanks ranks(n);
  std::vector<tw_stream_t> streams(n);
  for (tw_stream_t& stream : streams)
    ASSERT_EQ(tw_stream_create(nullptr, &stream), TW_OK) << tw_last_error();
  for (int round = 0; round < 5; ++round)
    for (int rank = 0; rank < n; ++rank)
      ASSERT_EQ(tw_barrier(ranks.comm(rank), streams[rank]), TW_OK) << tw_last_error();
  for (tw_stream_t stream : streams) {
    EXPECT_EQ(tw_stream_synchronize(stream), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_stream_destroy(stream), TW_OK) << tw_last_error();
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, Barrier, testing::Values(1, 2, 3, 7, 64));

}  // namespace
}  // namespace tw::test
