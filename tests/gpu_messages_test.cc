// Messages, groups and copies of comms on GPUs.
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/runner/gpus.h"
#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

uint32_t value_of(int rank, size_t index) {
  return static_cast<uint32_t>(rank + 1) * 1000003u + static_cast<uint32_t>(index);
}

/// Memory of one rank on a GPU: what it sends, by value_of, and where it receives.
class Buffers {
 public:
  Buffers(int rank, tw_comm_t comm, bool in_window, size_t count)
      : gpu_(rank), rank_(rank), count_(count), in_window_(in_window) {
    const size_t bytes = 2 * count * sizeof(uint32_t);
    if (in_window) {
      EXPECT_EQ(tw_window_create(comm, bytes, &window_), TW_OK) << tw_last_error();
      void* memory = nullptr;
      EXPECT_EQ(tw_window_ptr(window_, rank, &memory), TW_OK) << tw_last_error();
      memory_ = static_cast<uint32_t*>(memory);
    } else {
      memory_ = static_cast<uint32_t*>(gpu_.allocate(bytes));
    }
    std::vector<uint32_t> data(2 * count, 0xA5A5A5A5u);
    for (size_t i = 0; i < count; ++i) data[i] = value_of(rank, i);
    gpu_.write(memory_, data.data(), bytes);
  }
  Buffers(const Buffers&) = delete;
  Buffers& operator=(const Buffers&) = delete;
  /// With every rank's calls done: freeing memory waits for launches, which may wait for a rank
  /// that frees.
  ~Buffers() {
    if (in_window_)
      EXPECT_EQ(tw_window_destroy(window_), TW_OK) << tw_last_error();
    else
      gpu_.free(memory_);
  }

  Gpu& gpu() { return gpu_; }
  tw_window_t window() const { return window_; }
  uint32_t* sent() const { return memory_; }
  uint32_t* received() const { return memory_ + count_; }
  void expect_from(int rank) {
    std::vector<uint32_t> data(count_);
    gpu_.synchronize();
    gpu_.read(data.data(), received(), count_ * sizeof(uint32_t));
    for (size_t i = 0; i < count_; ++i)
      ASSERT_EQ(data[i], value_of(rank, i)) << "rank " << rank_ << ", element " << i;
  }

 private:
  Gpu gpu_;
  const int rank_;
  const size_t count_;
  const bool in_window_;
  tw_window_t window_ = nullptr;
  uint32_t* memory_ = nullptr;
};

class GpuMessages : public testing::TestWithParam<int> {};

TEST_P(GpuMessages, GoRoundARing) {
  const int n = GetParam();
  TW_NEED_GPUS(n);
  const ScopedEnv on_gpus("TW_DEVICE_KIND", "gpu");
  const ThreadRanks ranks(n);
  std::barrier meet(n);
  ranks.run([n, &meet](int rank, tw_comm_t comm) {
    const int next = (rank + 1) % n, last = (rank + n - 1) % n;
    std::vector<std::unique_ptr<Buffers>> kept;
    for (const bool in_window : {false, true})
      for (const size_t count : {size_t{1}, size_t{777}, size_t{200000}}) {
        kept.push_back(std::make_unique<Buffers>(rank, comm, in_window, count));
        Buffers& b = *kept.back();
        EXPECT_EQ(tw_group_begin(), TW_OK);
        EXPECT_EQ(tw_send(b.sent(), count, TW_UINT32, next, comm, nullptr), TW_OK);
        EXPECT_EQ(tw_recv(b.received(), count, TW_UINT32, last, comm, nullptr), TW_OK);
        EXPECT_EQ(tw_group_end(), TW_OK) << tw_last_error();
        b.expect_from(last);
      }
    meet.arrive_and_wait();
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, GpuMessages, testing::Values(1, 2, 3, 4));

TEST(GpuGroup, OneThreadDrivesAllRanks) {
  TW_NEED_GPUS(3);
  constexpr int kRanks = 3;
  constexpr size_t kCount = 100000;
  const ScopedEnv on_gpus("TW_DEVICE_KIND", "gpu");
  const ThreadRanks ranks(kRanks);
  std::vector<std::unique_ptr<Gpu>> gpus;
  std::vector<uint32_t*> memory;
  for (int rank = 0; rank < kRanks; ++rank) {
    gpus.push_back(std::make_unique<Gpu>(rank));
    memory.push_back(static_cast<uint32_t*>(gpus.back()->allocate(kCount * sizeof(uint32_t))));
    std::vector<uint32_t> data(kCount);
    for (size_t i = 0; i < kCount; ++i) data[i] = value_of(rank, i);
    gpus.back()->write(memory.back(), data.data(), kCount * sizeof(uint32_t));
  }
  EXPECT_EQ(tw_group_begin(), TW_OK);
  for (size_t rank = 0; rank < kRanks; ++rank)
    EXPECT_EQ(tw_all_reduce(memory[rank], memory[rank], kCount, TW_UINT32, TW_SUM,
                            ranks.comm(static_cast<int>(rank)), nullptr),
              TW_OK);
  EXPECT_EQ(tw_group_end(), TW_OK) << tw_last_error();
  for (size_t rank = 0; rank < kRanks; ++rank) {
    std::vector<uint32_t> data(kCount);
    gpus[rank]->synchronize();
    gpus[rank]->read(data.data(), memory[rank], kCount * sizeof(uint32_t));
    for (size_t i = 0; i < kCount; ++i)
      ASSERT_EQ(data[i], value_of(0, i) + value_of(1, i) + value_of(2, i)) << "element " << i;
    gpus[rank]->free(memory[rank]);
  }
}

TEST(GpuGroup, MessagesBesideCollectivesAreRefused) {
  TW_NEED_GPUS(2);
  const ScopedEnv on_gpus("TW_DEVICE_KIND", "gpu");
  const ThreadRanks ranks(2);
  ranks.run([](int rank, tw_comm_t comm) {
    Buffers b(rank, comm, true, 16);
    EXPECT_EQ(tw_group_begin(), TW_OK);
    EXPECT_EQ(tw_all_reduce(b.sent(), b.received(), 16, TW_UINT32, TW_SUM, comm, nullptr), TW_OK);
    EXPECT_EQ(tw_send(b.sent(), 16, TW_UINT32, 1 - rank, comm, nullptr), TW_OK);
    EXPECT_EQ(tw_group_end(), TW_ERROR_UNSUPPORTED);
    EXPECT_NE(std::string(tw_last_error()).find("collectives beside messages"), std::string::npos)
        << tw_last_error();
    EXPECT_EQ(tw_barrier(comm, nullptr), TW_OK) << tw_last_error();
    b.gpu().synchronize();
  });
}

TEST(GpuWindow, PutsAndGetsReachPeers) {
  TW_NEED_GPUS(2);
  constexpr size_t kCount = 5000, kBytes = kCount * sizeof(uint32_t);
  const ScopedEnv on_gpus("TW_DEVICE_KIND", "gpu");
  const ThreadRanks ranks(2);
  ranks.run([](int rank, tw_comm_t comm) {
    Buffers b(rank, comm, true, kCount);
    EXPECT_EQ(tw_barrier(comm, nullptr), TW_OK) << tw_last_error();
    b.gpu().synchronize();  // and the peer's buffers are filled too
    // Into the peer's second half, then back from there into the own first one.
    EXPECT_EQ(tw_put(b.window(), 1 - rank, kBytes, b.sent(), kBytes, nullptr), TW_OK)
        << tw_last_error();
    EXPECT_EQ(tw_barrier(comm, nullptr), TW_OK) << tw_last_error();
    b.expect_from(1 - rank);
    std::vector<uint32_t> data(kCount);
    EXPECT_EQ(tw_get(data.data(), b.window(), 1 - rank, 0, kBytes, nullptr), TW_OK)
        << tw_last_error();
    b.gpu().synchronize();
    for (size_t i = 0; i < kCount; ++i) ASSERT_EQ(data[i], value_of(1 - rank, i));
    EXPECT_EQ(tw_barrier(comm, nullptr), TW_OK) << tw_last_error();
    b.gpu().synchronize();
  });
}

/// More calls with arrays than the device keeps arrays for (64), all queued before the first can
/// run: each is carried out by its own.
TEST(GpuUnevenCalls, KeepTheirArraysUntilTheyAreDone) {
  TW_NEED_GPUS(2);
  const ScopedEnv on_gpus("TW_DEVICE_KIND", "gpu");
  constexpr size_t kCalls = 80, kAtOnce = 64;
  const ThreadRanks ranks(2);
  std::atomic<size_t> queued{0};
  std::barrier meet(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    Gpu gpu(rank);
    auto* const sent = static_cast<uint32_t*>(gpu.allocate(sizeof(uint32_t)));
    auto* const received = static_cast<uint32_t*>(gpu.allocate(2 * kCalls * sizeof(uint32_t)));
    const uint32_t own = value_of(rank, 0);
    gpu.write(sent, &own, sizeof own);
    const std::vector<uint32_t> nothing(2 * kCalls, 0);
    gpu.write(received, nothing.data(), nothing.size() * sizeof(uint32_t));
    if (rank == 1) {
      while (queued < kAtOnce) std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));  // rank 0 goes as far as it can
    }
    for (size_t i = 0; i < kCalls; ++i) {
      const size_t counts[] = {1, 1}, displs[] = {2 * i + 1, 2 * i};
      EXPECT_EQ(tw_all_gather_v(sent, received, counts, displs, TW_INT32, comm, nullptr), TW_OK)
          << tw_last_error();
      if (rank == 0) ++queued;
    }
    gpu.synchronize();
    std::vector<uint32_t> data(2 * kCalls);
    gpu.read(data.data(), received, data.size() * sizeof(uint32_t));
    for (size_t i = 0; i < data.size(); ++i)
      EXPECT_EQ(data[i], value_of(i % 2 == 0 ? 1 : 0, 0)) << "rank " << rank << ", element " << i;
    meet.arrive_and_wait();  // freeing memory waits for launches
    gpu.free(sent);
    gpu.free(received);
  });
}

}  // namespace
}  // namespace tw::test
