// The device views in plain C++ on CPUs: what a user's own code may do in windows, and signals with
// epochs that nobody sets. Kernels that take the views: kernel_launch_test.cc.
#include "tilewire/window_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "tests/runner/ranks.h"
#include "tests/support/view_uses.h"
#include "tilewire/signal_device.h"

namespace {

namespace dev = tw::device;
using tw::test::ThreadRanks;

constexpr size_t kSlots = 4;

/// A window and a signal set of one rank, and their views.
class Memory {
 public:
  Memory(tw_comm_t comm, size_t bytes) {
    EXPECT_EQ(tw_window_create(comm, bytes, &window_), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_signals_create(comm, kSlots, &signals_), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_window_get_view(window_, &window), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_signals_get_view(signals_, &signals), TW_OK) << tw_last_error();
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() {
    EXPECT_EQ(tw_signals_destroy(signals_), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_window_destroy(window_), TW_OK) << tw_last_error();
  }
  dev::OpenSignals open() const { return {signals, 0, 1, "window_device_test"}; }

  tw_window_view window = {};
  tw_signal_view signals = {};

 private:
  tw_window_t window_ = nullptr;
  tw_signals_t signals_ = nullptr;
};

TEST(WindowDevice, PointersAreThoseOfTheHost) {
  const ThreadRanks ranks(2);
  ranks.run([](int rank, tw_comm_t comm) {
    tw_window_t window;
    ASSERT_EQ(tw_window_create(comm, 100 * (static_cast<size_t>(rank) + 1), &window), TW_OK);
    tw_window_view view;
    ASSERT_EQ(tw_window_get_view(window, &view), TW_OK);
    EXPECT_EQ(view.version, tw::kCommLayoutVersion);
    for (int r = 0; r < 2; ++r) {
      void* ptr;
      size_t bytes;
      ASSERT_EQ(tw_window_ptr(window, r, &ptr), TW_OK);
      ASSERT_EQ(tw_window_size(window, r, &bytes), TW_OK);
      EXPECT_EQ(dev::peer_ptr(view, r, 7), static_cast<char*>(ptr) + 7);
      EXPECT_EQ(view.bytes[r], bytes);
    }
    EXPECT_EQ(dev::local_ptr(view), dev::peer_ptr(view, rank));
    EXPECT_EQ(dev::multicast_ptr(view), nullptr);
    EXPECT_EQ(tw_window_destroy(window), TW_OK);
  });
}

/// Every rank sends a message to its right neighbour, `launches` times, by one kind of group.
template <class Group>
void pass_on(int n, int launches) {
  const ThreadRanks ranks(n);
  ranks.run([n, launches](int rank, tw_comm_t comm) {
    const Memory memory(comm, 8192);
    const int right = (rank + 1) % n, left = (rank + n - 1) % n;
    std::vector<int> out(500), in(500);
    for (int launch = 0; launch < launches; ++launch) {
      dev::OpenSignals signals = memory.open();
      EXPECT_EQ(signals.epoch(), static_cast<uint64_t>(launch));
      // The slot of the message, and one that says that the neighbour may be overwritten.
      EXPECT_TRUE(signals.signal(Group(), left, 1));
      ASSERT_TRUE(signals.wait(Group(), right, 1));
      for (int i = 0; i < 500; ++i) out[static_cast<size_t>(i)] = 10000 * launch + 1000 * rank + i;
      EXPECT_TRUE(signals.put_signal(Group(), memory.window, right, 16, out.data(), 2000, 0));
      ASSERT_TRUE(signals.wait(Group(), left, 0));
      EXPECT_TRUE(dev::get(Group(), in.data(), memory.window, rank, 16, 2000));
      for (int i = 0; i < 500; ++i)
        ASSERT_EQ(in[static_cast<size_t>(i)], 10000 * launch + 1000 * left + i);
      signals.close();
    }
  });
}

TEST(WindowDevice, PutSignalAndGetByThread) { pass_on<dev::ThisThread>(3, 5); }
TEST(WindowDevice, PutSignalAndGetByWarp) { pass_on<dev::ThisWarp>(2, 3); }
TEST(WindowDevice, PutSignalAndGetByBlock) { pass_on<dev::ThisBlock>(2, 3); }

TEST(WindowDevice, ManyLaunchesStayInStepWithoutAHostSetEpoch) {
  pass_on<dev::ThisThread>(2, 2000);
}

TEST(WindowDevice, WaitAllAndWaitAny) {
  const ThreadRanks ranks(4);
  ranks.run([](int rank, tw_comm_t comm) {
    const Memory memory(comm, 64);
    for (int launch = 0; launch < 50; ++launch) {
      dev::OpenSignals signals = memory.open();
      const dev::ThisThread me;
      const uint64_t mine = 100 * static_cast<uint64_t>(launch) + static_cast<uint64_t>(rank);
      // Everybody puts a word at rank 0, which takes them as they come.
      if (rank != 0) {
        EXPECT_TRUE(signals.put_signal(me, memory.window, 0, 8 * static_cast<size_t>(rank), &mine,
                                       sizeof mine, 0));
      } else {
        const int first = signals.wait_any(me, 0);
        ASSERT_GT(first, 0);
        const auto* const words = reinterpret_cast<const uint64_t*>(dev::local_ptr(memory.window));
        EXPECT_EQ(words[first], 100 * static_cast<uint64_t>(launch) + static_cast<uint64_t>(first));
        ASSERT_TRUE(signals.wait_all(me, 0));
        for (uint64_t r = 1; r < 4; ++r)
          EXPECT_EQ(words[r], 100 * static_cast<uint64_t>(launch) + r);
      }
      ASSERT_TRUE(signals.barrier(me, 1));
      signals.close();
    }
  });
}

TEST(WindowDevice, ABarrierOrdersPlainStoresByStage) {
  const ThreadRanks ranks(3);
  ranks.run([](int rank, tw_comm_t comm) {
    const Memory memory(comm, 64);
    const dev::ThisBlock block;
    dev::OpenSignals signals = memory.open();
    for (uint64_t stage = 1; stage <= 200; stage += 2) {
      *reinterpret_cast<uint64_t*>(dev::local_ptr(memory.window)) =
          1000 * stage + static_cast<uint64_t>(rank);
      ASSERT_TRUE(signals.barrier(block, 0, stage));
      for (int peer = 0; peer < 3; ++peer)
        ASSERT_EQ(*reinterpret_cast<const uint64_t*>(dev::peer_ptr(memory.window, peer)),
                  1000 * stage + static_cast<uint64_t>(peer));
      ASSERT_TRUE(signals.barrier(block, 0, stage + 1));
    }
    signals.close();
  });
}

TEST(WindowDevice, FetchAddAndCompareSwap) {
  const ThreadRanks ranks(4);
  ranks.run([](int rank, tw_comm_t comm) {
    const Memory memory(comm, 64);
    constexpr uint64_t kTimes = 2000;
    uint64_t least = 0;
    for (uint64_t i = 0; i < kTimes; ++i) {
      const uint64_t before = dev::fetch_add(memory.window, 0, 8, 3);
      EXPECT_GE(before, least);
      least = before + 3;
      // A lock at rank 1 around a plain counter beside it.
      while (dev::compare_swap(memory.window, 1, 16, 0, 1) != 0) std::this_thread::yield();
      ++*reinterpret_cast<uint64_t*>(dev::peer_ptr(memory.window, 1, 24));
      EXPECT_EQ(dev::compare_swap(memory.window, 1, 16, 1, 0), 1u);
    }
    dev::OpenSignals signals = memory.open();
    ASSERT_TRUE(signals.barrier(dev::ThisThread(), 0));
    EXPECT_EQ(*reinterpret_cast<uint64_t*>(dev::peer_ptr(memory.window, 0, 8)), 4 * 3 * kTimes);
    EXPECT_EQ(*reinterpret_cast<uint64_t*>(dev::peer_ptr(memory.window, 1, 24)), 4 * kTimes);
    ASSERT_TRUE(signals.barrier(dev::ThisThread(), 1));
    signals.close();
    static_cast<void>(rank);
  });
}

TEST(WindowDevice, EveryReleasePassesDataOn) {
  dev::signal_passes_data();
  dev::barrier_passes_data();
  dev::fetch_add_passes_data();
  dev::compare_swap_passes_data();
  dev::last_block_ends_a_launch();
}

TEST(WindowDevice, WhatDoesNotExistIsRefused) {
  const ThreadRanks ranks(2);
  ranks.run([](int rank, tw_comm_t comm) {
    const Memory memory(comm, 64);
    const dev::ThisThread me;
    dev::OpenSignals signals = memory.open();
    char data[65] = {1};
    EXPECT_FALSE(dev::put(me, memory.window, 2, 0, data, 1));
    EXPECT_FALSE(dev::put(me, memory.window, -1, 0, data, 1));
    EXPECT_FALSE(dev::put(me, memory.window, 0, 0, data, 65));
    EXPECT_FALSE(dev::put(me, memory.window, 0, 65, data, 0));
    EXPECT_FALSE(dev::get(me, data, memory.window, 0, SIZE_MAX, 2));
    EXPECT_TRUE(dev::put(me, memory.window, rank, 64, data, 0));
    EXPECT_FALSE(signals.signal(me, 2, 0));
    EXPECT_FALSE(signals.signal(me, 0, kSlots));
    EXPECT_FALSE(signals.wait(me, -1, 0));
    EXPECT_FALSE(signals.wait_all(me, kSlots));
    EXPECT_EQ(signals.wait_any(me, kSlots), -1);
    EXPECT_FALSE(signals.put_signal(me, memory.window, 1 - rank, 60, data, 8, 0));
    ASSERT_TRUE(signals.barrier(me, 1));
    // A put that was refused has not signalled either.
    EXPECT_EQ(dev::signal_line(memory.signals, rank, 1 - rank, 0)->value, 0u);
    ASSERT_TRUE(signals.barrier(me, 2));
    signals.close();
  });
}

TEST(WindowDevice, AWaitIsBounded) {
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.timeout_ms = 50;
  const ThreadRanks ranks(2, &config);
  const tw_comm_t comm = ranks.comm(0);
  tw_signals_t signals[2] = {};
  ranks.run([&](int rank, tw_comm_t c) {
    ASSERT_EQ(tw_signals_create(c, kSlots, &signals[rank]), TW_OK);
  });
  tw_signal_view view;
  ASSERT_EQ(tw_signals_get_view(signals[0], &view), TW_OK);
  dev::OpenSignals open(view, 3, 4, "my_kernel");
  EXPECT_FALSE(open.wait(dev::ThisThread(), 1, 2));
  EXPECT_FALSE(open.wait_all(dev::ThisThread(), 1));
  EXPECT_EQ(open.wait_any(dev::ThisThread(), 1), -1);
  tw_status_t status;
  const char* sentence;
  ASSERT_EQ(tw_comm_error(comm, &status, &sentence), TW_OK);
  EXPECT_EQ(status, TW_ERROR_TIMEOUT);
  for (const char* part : {"my_kernel", "rank 0", "rank 1", "block 3", "step 2"})
    EXPECT_NE(std::string(sentence).find(part), std::string::npos) << sentence;
  ranks.run([&](int rank, tw_comm_t) { EXPECT_EQ(tw_signals_destroy(signals[rank]), TW_OK); });
}

TEST(WindowDevice, AnAbortEndsAWaitForAny) {
  const ThreadRanks ranks(2);
  tw_signals_t signals[2] = {};
  ranks.run([&](int rank, tw_comm_t comm) {
    ASSERT_EQ(tw_signals_create(comm, kSlots, &signals[rank]), TW_OK);
  });
  tw_signal_view view;
  ASSERT_EQ(tw_signals_get_view(signals[0], &view), TW_OK);
  std::thread aborter([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    EXPECT_EQ(tw_comm_abort(ranks.comm(1)), TW_OK);
  });
  dev::OpenSignals open(view, 0, 1, "my_kernel");
  EXPECT_EQ(open.wait_any(dev::ThisThread(), 0), -1);
  aborter.join();
  ranks.run([&](int rank, tw_comm_t) { EXPECT_EQ(tw_signals_destroy(signals[rank]), TW_OK); });
}

}  // namespace
