// Groups: any mix, any order, no deadlock; one thread may drive all ranks.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

tw_status_t sum(const std::vector<float>& in, std::vector<float>* out, tw_comm_t comm,
                tw_stream_t stream = nullptr) {
  return tw_all_reduce(in.data(), out->data(), in.size(), TW_FP32, TW_SUM, comm, stream);
}

std::vector<float> ramp(size_t count, int rank) {
  std::vector<float> v(count);
  for (size_t i = 0; i < count; ++i) v[i] = static_cast<float>(i % 100) + static_cast<float>(rank);
  return v;
}

float ramp_sum(size_t i, int n) {
  const int of_ranks = n * (n - 1) / 2;
  return static_cast<float>(n) * static_cast<float>(i % 100) + static_cast<float>(of_ranks);
}

class Group : public testing::TestWithParam<int> {};

TEST_P(Group, OneThreadDrivesAllRanks) {
  const int n = GetParam();
  const ThreadRanks ranks(n);
  for (size_t count : {1, 500, 50000}) {
    std::vector<std::vector<float>> in, out(n, std::vector<float>(count, -1));
    for (int r = 0; r < n; ++r) in.push_back(ramp(count, r));
    ASSERT_EQ(tw_group_begin(), TW_OK);
    for (int r = n - 1; r >= 0; --r)
      ASSERT_EQ(sum(in[r], &out[r], ranks.comm(r)), TW_OK) << tw_last_error();
    ASSERT_EQ(out[0][0], -1) << "ran before the group's end";
    ASSERT_EQ(tw_group_end(), TW_OK) << tw_last_error();
    for (int r = 0; r < n; ++r)
      for (size_t i = 0; i < count; ++i) ASSERT_EQ(out[r][i], ramp_sum(i, n)) << r << " " << i;
  }
}

TEST_P(Group, OneThreadDrivesAllRanksOnStreams) {
  const int n = GetParam();
  const ThreadRanks ranks(n);
  constexpr size_t kCount = 3000;
  std::vector<tw_stream_t> streams(n);
  for (tw_stream_t& s : streams) ASSERT_EQ(tw_stream_create(nullptr, &s), TW_OK);
  std::vector<std::vector<float>> in, out(n, std::vector<float>(kCount)), again = out;
  for (int r = 0; r < n; ++r) in.push_back(ramp(kCount, r));
  // Without a group, each rank on its own queue ...
  for (int r = 0; r < n; ++r)
    ASSERT_EQ(sum(in[r], &out[r], ranks.comm(r), streams[r]), TW_OK) << tw_last_error();
  // ... and in a group behind it.
  ASSERT_EQ(tw_group_begin(), TW_OK);
  for (int r = 0; r < n; ++r)
    ASSERT_EQ(sum(out[r], &again[r], ranks.comm(r), streams[r]), TW_OK) << tw_last_error();
  ASSERT_EQ(tw_group_end(), TW_OK) << tw_last_error();
  for (tw_stream_t s : streams) {
    ASSERT_EQ(tw_stream_synchronize(s), TW_OK) << tw_last_error();
    ASSERT_EQ(tw_stream_destroy(s), TW_OK);
  }
  for (int r = 0; r < n; ++r)
    for (size_t i = 0; i < kCount; ++i)
      ASSERT_EQ(again[r][i], static_cast<float>(n) * ramp_sum(i, n));
}

TEST_P(Group, OneStreamForAllRanks) {
  const int n = GetParam();
  const ThreadRanks ranks(n);
  tw_stream_t stream = nullptr;
  ASSERT_EQ(tw_stream_create(nullptr, &stream), TW_OK);
  std::vector<std::vector<float>> in, out(n, std::vector<float>(200));
  for (int r = 0; r < n; ++r) in.push_back(ramp(200, r));
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(tw_group_begin(), TW_OK);
    for (int r = 0; r < n; ++r)
      ASSERT_EQ(sum(in[r], &out[r], ranks.comm(r), stream), TW_OK) << tw_last_error();
    ASSERT_EQ(tw_group_end(), TW_OK) << tw_last_error();
  }
  ASSERT_EQ(tw_stream_synchronize(stream), TW_OK) << tw_last_error();
  ASSERT_EQ(tw_stream_destroy(stream), TW_OK);
  for (int r = 0; r < n; ++r)
    for (size_t i = 0; i < 200; ++i) ASSERT_EQ(out[r][i], ramp_sum(i, n));
}

INSTANTIATE_TEST_SUITE_P(Ranks, Group, testing::Values(1, 2, 4, 8));

TEST(Group, TwoCommsInOppositeOrder) {
  const ThreadRanks first(2), second(2);
  first.run([&](int rank, tw_comm_t comm) {
    const tw_comm_t other = second.comm(rank);
    for (int round = 0; round < 30; ++round) {
      const std::vector<float> in = ramp(round % 2 == 0 ? 10 : 20000, rank);
      std::vector<float> a(in.size()), b(in.size());
      ASSERT_EQ(tw_group_begin(), TW_OK);
      ASSERT_EQ(sum(in, rank == 0 ? &a : &b, rank == 0 ? comm : other), TW_OK);
      ASSERT_EQ(sum(in, rank == 0 ? &b : &a, rank == 0 ? other : comm), TW_OK);
      ASSERT_EQ(tw_group_end(), TW_OK) << tw_last_error();
      for (size_t i = 0; i < in.size(); ++i) {
        ASSERT_EQ(a[i], ramp_sum(i, 2));
        ASSERT_EQ(b[i], ramp_sum(i, 2));
      }
    }
  });
}

TEST(Group, SeveralCollectivesKeepTheirOrder) {
  const ThreadRanks ranks(3);
  ranks.run([&](int rank, tw_comm_t comm) {
    const std::vector<float> in = ramp(300, rank);
    std::vector<float> once(300), twice(300), all(900), from(300);
    ASSERT_EQ(tw_group_begin(), TW_OK);
    ASSERT_EQ(sum(in, &once, comm), TW_OK);
    ASSERT_EQ(sum(once, &twice, comm), TW_OK);
    ASSERT_EQ(tw_all_gather(in.data(), all.data(), 300, TW_FP32, comm, nullptr), TW_OK);
    ASSERT_EQ(tw_broadcast(in.data(), from.data(), 300, TW_FP32, 1, comm, nullptr), TW_OK);
    ASSERT_EQ(tw_barrier(comm, nullptr), TW_OK);
    ASSERT_EQ(tw_group_end(), TW_OK) << tw_last_error();
    const std::vector<float> one = ramp(300, 1);
    for (size_t i = 0; i < 300; ++i) {
      ASSERT_EQ(once[i], ramp_sum(i, 3));
      ASSERT_EQ(twice[i], 3 * ramp_sum(i, 3));
      ASSERT_EQ(from[i], one[i]);
      ASSERT_EQ(all[300 + i], one[i]);
    }
  });
}

TEST(Group, TransfersAndCollectivesInAnyOrder) {
  const ThreadRanks ranks(4);
  ranks.run([&](int rank, tw_comm_t comm) {
    for (int round = 0; round < 12; ++round) {
      const size_t count = round % 3 == 0 ? 4 : 300000;
      const int next = (rank + 1) % 4, before = (rank + 3) % 4;
      const std::vector<float> in = ramp(count, rank);
      std::vector<float> out(count), got(count);
      ASSERT_EQ(tw_group_begin(), TW_OK);
      if (rank % 2 == 0) {
        ASSERT_EQ(sum(in, &out, comm), TW_OK);
      }
      ASSERT_EQ(tw_send(in.data(), count, TW_FP32, next, comm, nullptr), TW_OK);
      if (rank % 2 == 1) {
        ASSERT_EQ(sum(in, &out, comm), TW_OK);
      }
      ASSERT_EQ(tw_recv(got.data(), count, TW_FP32, before, comm, nullptr), TW_OK);
      ASSERT_EQ(tw_group_end(), TW_OK) << tw_last_error();
      const std::vector<float> want = ramp(count, before);
      ASSERT_EQ(got, want);
      for (size_t i = 0; i < count; ++i) ASSERT_EQ(out[i], ramp_sum(i, 4));
    }
  });
}

TEST(Group, TransferInAGroupMeetsOneOutside) {
  // Rank 0 groups a large send with a collective; rank 1 makes the collective first, then receives.
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    const size_t count = 2 << 20;
    const std::vector<float> in = ramp(count, rank);
    std::vector<float> out(8), got(count);
    const std::vector<float> small = ramp(8, rank);
    if (rank == 0) {
      ASSERT_EQ(tw_group_begin(), TW_OK);
      ASSERT_EQ(tw_send(in.data(), count, TW_FP32, 1, comm, nullptr), TW_OK);
      ASSERT_EQ(sum(small, &out, comm), TW_OK);
      ASSERT_EQ(tw_group_end(), TW_OK) << tw_last_error();
    } else {
      ASSERT_EQ(sum(small, &out, comm), TW_OK) << tw_last_error();
      ASSERT_EQ(tw_recv(got.data(), count, TW_FP32, 0, comm, nullptr), TW_OK) << tw_last_error();
      ASSERT_EQ(got, ramp(count, 0));
    }
    ASSERT_EQ(out[7], ramp_sum(7, 2));
  });
}

TEST(Group, NestedGroupsRunAtTheOutermostEnd) {
  const ThreadRanks ranks(2);
  const std::vector<float> in0 = ramp(10, 0), in1 = ramp(10, 1);
  std::vector<float> out0(10, -1), out1(10, -1);
  ASSERT_EQ(tw_group_begin(), TW_OK);
  ASSERT_EQ(tw_group_begin(), TW_OK);
  ASSERT_EQ(sum(in0, &out0, ranks.comm(0)), TW_OK);
  ASSERT_EQ(tw_group_end(), TW_OK);
  ASSERT_EQ(out0[0], -1);
  ASSERT_EQ(sum(in1, &out1, ranks.comm(1)), TW_OK);
  ASSERT_EQ(tw_group_end(), TW_OK) << tw_last_error();
  EXPECT_EQ(out0, out1);
  EXPECT_EQ(out0[3], ramp_sum(3, 2));
}

TEST(Group, EmptyAndUnbalanced) {
  EXPECT_EQ(tw_group_begin(), TW_OK);
  EXPECT_EQ(tw_group_end(), TW_OK);
  EXPECT_EQ(tw_group_end(), TW_ERROR_INVALID_STATE);
  EXPECT_NE(std::string(tw_last_error()).find("tw_group_begin"), std::string::npos);
}

TEST(Group, TransfersWithTheOwnRank) {
  const ThreadRanks ranks(1);
  const std::vector<float> in = ramp(10, 0);
  std::vector<float> out(10);
  ASSERT_EQ(tw_group_begin(), TW_OK);
  ASSERT_EQ(tw_recv(out.data(), 10, TW_FP32, 0, ranks.comm(0), nullptr), TW_OK);
  ASSERT_EQ(tw_send(in.data(), 10, TW_FP32, 0, ranks.comm(0), nullptr), TW_OK);
  ASSERT_EQ(tw_group_end(), TW_OK) << tw_last_error();
  EXPECT_EQ(in, out);

  ASSERT_EQ(tw_group_begin(), TW_OK);
  ASSERT_EQ(tw_send(in.data(), 10, TW_FP32, 0, ranks.comm(0), nullptr), TW_OK);
  EXPECT_EQ(tw_group_end(), TW_ERROR_INVALID_STATE);
  EXPECT_NE(std::string(tw_last_error()).find("no matching recv"), std::string::npos);

  ASSERT_EQ(tw_group_begin(), TW_OK);
  ASSERT_EQ(tw_send(in.data(), 10, TW_FP32, 0, ranks.comm(0), nullptr), TW_OK);
  ASSERT_EQ(tw_recv(out.data(), 9, TW_FP32, 0, ranks.comm(0), nullptr), TW_OK);
  EXPECT_EQ(tw_group_end(), TW_ERROR_MISMATCH);
}

TEST(Group, OneThreadInlineOutsideAGroupIsAnError) {
  for (size_t count : {1, 100000}) {
    const ThreadRanks ranks(2);
    const std::vector<float> in = ramp(count, 0);
    std::vector<float> out(count);
    tw_status_t status = sum(in, &out, ranks.comm(0));
    EXPECT_EQ(status, TW_ERROR_INVALID_STATE) << tw_last_error();
    EXPECT_NE(std::string(tw_last_error()).find("tw_group_begin"), std::string::npos)
        << tw_last_error();
  }
}

TEST(Group, OneThreadThatWaitsForItsOwnSignalIsAnErrorAndTheCommGoesOn) {
  const ThreadRanks ranks(2);
  tw_signals_t signals[2] = {};
  ranks.run([&](int rank, tw_comm_t comm) {
    EXPECT_EQ(tw_signals_create(comm, 1, &signals[rank]), TW_OK);
  });
  EXPECT_EQ(tw_wait_signal(signals[0], 1, 0, 1, -1, nullptr), TW_ERROR_INVALID_STATE);
  EXPECT_NE(std::string(tw_last_error()).find("no other thread"), std::string::npos)
      << tw_last_error();
  EXPECT_EQ(tw_signal(signals[1], 0, 0, nullptr), TW_OK) << tw_last_error();
  EXPECT_EQ(tw_wait_signal(signals[0], 1, 0, 1, -1, nullptr), TW_OK) << tw_last_error();
  ranks.run([&](int rank, tw_comm_t) { EXPECT_EQ(tw_signals_destroy(signals[rank]), TW_OK); });
}

TEST(Group, LateThreadsAreNotMistakenForOneThread) {
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    if (rank == 1) std::this_thread::sleep_for(std::chrono::milliseconds(600));
    const std::vector<float> in = ramp(10, rank);
    std::vector<float> out(10);
    EXPECT_EQ(sum(in, &out, comm), TW_OK) << tw_last_error();
  });
}

// Were the rest made, the others would wait for the call that was refused.
TEST(Group, OneRefusedCallAndNoneIsMade) {
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    const std::vector<float> in = ramp(10, rank);
    std::vector<float> out(10, -1), other(10, -1);
    ASSERT_EQ(tw_group_begin(), TW_OK);
    EXPECT_EQ(sum(in, &out, comm), TW_OK);
    EXPECT_EQ(tw_send(in.data(), 10, TW_FP32, 7, comm, nullptr), TW_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(tw_all_reduce(in.data(), nullptr, 10, TW_FP32, TW_SUM, comm, nullptr),
              TW_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(sum(in, &other, comm), TW_OK);
    EXPECT_EQ(tw_group_end(), TW_ERROR_INVALID_ARGUMENT);
    const std::string sentence = tw_last_error();
    EXPECT_NE(sentence.find("no call of this group was made"), std::string::npos) << sentence;
    EXPECT_NE(sentence.find("peer = 7"), std::string::npos) << sentence;
    EXPECT_EQ(out[0], -1);
    EXPECT_EQ(other[0], -1);
    // The comm and the thread's next group know nothing of it.
    ASSERT_EQ(tw_group_begin(), TW_OK);
    EXPECT_EQ(sum(in, &out, comm), TW_OK);
    EXPECT_EQ(tw_group_end(), TW_OK) << tw_last_error();
    EXPECT_EQ(out[0], ramp_sum(0, 2));
  });
}

// The order of comms in a group is random: several rounds, so that each comes first.
TEST(Group, AQueuedGroupsErrorIsThatOfTheCommConcerned) {
  for (int round = 0; round < 6; ++round) {
    const ThreadRanks ranks(2);
    std::atomic<bool> queued{false};
    ranks.run([&](int rank, tw_comm_t comm) {
      const std::vector<float> in = ramp(10, rank);
      std::vector<float> out(10), other(10);
      tw_comm_t ended;
      ASSERT_EQ(tw_comm_split(comm, 0, rank, nullptr, &ended), TW_OK) << tw_last_error();
      if (rank == 0) {
        tw_stream_t stream;
        ASSERT_EQ(tw_stream_create(nullptr, &stream), TW_OK);
        ASSERT_EQ(tw_group_begin(), TW_OK);
        EXPECT_EQ(sum(in, &out, comm, stream), TW_OK);
        EXPECT_EQ(sum(in, &other, ended, stream), TW_OK);
        EXPECT_EQ(tw_group_end(), TW_OK) << tw_last_error();
        queued = true;
        EXPECT_EQ(tw_stream_synchronize(stream), TW_ERROR_ABORTED) << tw_last_error();
        EXPECT_EQ(tw_stream_destroy(stream), TW_OK);
        EXPECT_EQ(sum(in, &other, ended), TW_ERROR_ABORTED);
      } else {
        while (!queued) std::this_thread::yield();
        EXPECT_EQ(tw_comm_abort(ended), TW_OK);
        EXPECT_EQ(sum(in, &out, comm), TW_OK) << tw_last_error();
      }
      EXPECT_EQ(sum(in, &out, comm), TW_OK) << tw_last_error();
      EXPECT_EQ(out[1], ramp_sum(1, 2));
      EXPECT_EQ(tw_comm_destroy(ended), TW_OK) << tw_last_error();
    });
  }
}

TEST(Group, AWindowThatItsCallsMayUseIsNotDestroyed) {
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    constexpr size_t kCount = 1 << 20;
    void* memory = nullptr;
    tw_window_t window;
    ASSERT_EQ(tw_mem_alloc(kCount * sizeof(float), nullptr, &memory), TW_OK);
    ASSERT_EQ(tw_window_register(comm, memory, kCount * sizeof(float), &window), TW_OK);
    float* const data = static_cast<float*>(memory);
    data[kCount - 1] = static_cast<float>(rank + 1);
    ASSERT_EQ(tw_group_begin(), TW_OK);
    EXPECT_EQ(tw_all_reduce(data, data, kCount, TW_FP32, TW_SUM, comm, nullptr), TW_OK);
    EXPECT_EQ(tw_window_destroy(window), TW_ERROR_INVALID_STATE);
    EXPECT_NE(std::string(tw_last_error()).find("tw_group_end"), std::string::npos);
    EXPECT_EQ(tw_group_end(), TW_OK) << tw_last_error();
    EXPECT_EQ(data[kCount - 1], 3);
    EXPECT_EQ(tw_window_destroy(window), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_mem_free(memory), TW_OK);
  });
}

TEST(Group, CommDestroyedInsideIsNoticed) {
  tw_comm_t comm = nullptr;
  ASSERT_EQ(tw_comm_create_all(1, nullptr, &comm), TW_OK) << tw_last_error();
  const std::vector<float> in = ramp(5, 0);
  std::vector<float> out(5);
  ASSERT_EQ(tw_group_begin(), TW_OK);
  ASSERT_EQ(sum(in, &out, comm), TW_OK);
  ASSERT_EQ(tw_comm_destroy(comm), TW_OK) << tw_last_error();
  EXPECT_EQ(tw_group_end(), TW_ERROR_INVALID_HANDLE);
}

}  // namespace
}  // namespace tw::test
