// One use of each op of the device views that releases: plain data passes from rank to rank, or
// from block to block, by that op alone. window_device_test runs them; planted_views_test runs them
// with the releases left out. The ops are those of TW_NS.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "tests/support/signal_memory.h"

namespace TW_NS {

inline constexpr int kUses = 40;
inline constexpr size_t kUseBytes = 1000;

/// Rank 0 puts and signals; rank 1 reads, and signals that it has.
inline void signal_passes_data() {
  test::SignalMemory memory;
  memory.run([&](int rank) {
    const tw_window_view window = memory.window(rank);
    char data[kUseBytes] = {};
    for (int use = 0; use < kUses; ++use) {
      OpenSignals signals(memory.signals(rank), 0, 1, "signal_passes_data");
      if (rank == 0) {
        std::memset(data, use, sizeof data);
        ASSERT_TRUE(signals.put_signal(ThisThread(), window, 1, 0, data, sizeof data, 0));
        ASSERT_TRUE(signals.wait(ThisThread(), 1, 1));
      } else {
        ASSERT_TRUE(signals.wait(ThisThread(), 0, 0));
        ASSERT_TRUE(get(ThisThread(), data, window, 1, 0, sizeof data));
        ASSERT_TRUE(signals.signal(ThisThread(), 0, 1));
      }
      EXPECT_EQ(data[kUseBytes - 1], use);
      signals.close();
    }
  });
}

/// Each rank reads what the other stored before a barrier; a second one lets both store again.
inline void barrier_passes_data() {
  test::SignalMemory memory;
  memory.run([&](int rank) {
    const tw_window_view window = memory.window(rank);
    OpenSignals signals(memory.signals(rank), 0, 1, "barrier_passes_data");
    for (uint64_t stage = 1; stage < 2 * kUses; stage += 2) {
      *reinterpret_cast<uint64_t*>(local_ptr(window)) = stage;
      ASSERT_TRUE(signals.barrier(ThisThread(), 0, stage));
      EXPECT_EQ(*reinterpret_cast<const uint64_t*>(peer_ptr(window, 1 - rank)), stage);
      ASSERT_TRUE(signals.barrier(ThisThread(), 0, stage + 1));
    }
    signals.close();
  });
}

/// A counter at rank 1: odd, rank 0's word there is to be read; even, to be written.
inline void fetch_add_passes_data() {
  test::SignalMemory memory;
  memory.run([&](int rank) {
    const tw_window_view window = memory.window(rank);
    auto* const word = reinterpret_cast<uint64_t*>(peer_ptr(window, 1, 64));
    const auto mine = static_cast<uint64_t>(rank);
    for (uint64_t use = 0; use < kUses; ++use) {
      while (fetch_add(window, 1, 0, 0) != 2 * use + mine) std::this_thread::yield();
      if (rank == 0)
        *word = use;
      else
        EXPECT_EQ(*word, use);
      fetch_add(window, 1, 0, 1);
    }
  });
}

/// A lock at rank 1 around a plain counter.
inline void compare_swap_passes_data() {
  test::SignalMemory memory;
  memory.run([&](int rank) {
    const tw_window_view window = memory.window(rank);
    auto* const counter = reinterpret_cast<uint64_t*>(peer_ptr(window, 1, 64));
    for (int use = 0; use < kUses; ++use) {
      while (compare_swap(window, 1, 0, 0, 1) != 0) std::this_thread::yield();
      ++*counter;
      EXPECT_EQ(compare_swap(window, 1, 0, 1, 0), 1u);
    }
  });
}

/// Two blocks of a launch, each on a thread: the last to close advances the set's epoch.
inline void last_block_ends_a_launch() {
  test::SignalMemory memory;
  memory.run([&](int rank) {
    for (int use = 0; use < kUses; ++use) {
      const auto run = [&](int block) {
        OpenSignals signals(memory.signals(rank), block, 2, "last_block_ends_a_launch");
        EXPECT_EQ(signals.epoch(), static_cast<uint64_t>(use));
        ASSERT_TRUE(signals.barrier(ThisThread(), static_cast<size_t>(block)));
        signals.close();
      };
      std::thread other(run, 1);
      run(0);
      other.join();
    }
  });
}

}  // namespace TW_NS
