// As planted_test, for the signal sets of tile programs: a relaxed store in place of their release.
#if defined(TW_SANITIZE_THREAD)

#include <gtest/gtest.h>

#include <cstring>
#include <thread>

// The tile layer's templates, in a namespace of their own.
#undef TW_NS
#define TW_NS tw::planted
#include "tests/runner/races.h"
#include "tests/support/fp32_sum.h"
#include "tests/support/signal_memory.h"
#include "tilewire/tile/signals.h"

namespace tw::test {
namespace {

using planted::CpuBlock;
using planted::Signals;
using planted::Site;
using PlantedSignals = Planted;

constexpr int kRounds = 40;
constexpr size_t kMessage = 1000;
enum Slot : size_t { kArrived, kTaken };

/// Leaves out the release by which a block hands its launch to the last one.
class WeakLast : public CpuBlock<Site::kNone> {
 public:
  using CpuBlock::CpuBlock;
  bool last(uint64_t* finished) const {
    if (__atomic_add_fetch(finished, 1, __ATOMIC_ACQUIRE) != static_cast<uint64_t>(blocks()))
      return false;
    __atomic_store_n(finished, 0, __ATOMIC_RELAXED);
    return true;
  }
};

/// Rank 0 stores into rank 1's part and signals; rank 1 reads, and says that it has.
template <Site site>
void message() {
  SignalMemory memory;
  memory.run([&](int rank) {
    const tw_window_view window = memory.window(rank);
    const tw_signal_view view = memory.signals(rank);
    char data[kMessage] = {};
    for (int round = 0; round < kRounds; ++round) {
      CpuBlock<site> block(0, 1, "message", view.wait);
      Signals<CpuBlock<site>> signals(block, view);
      if (rank == 0) {
        std::memset(data, round, sizeof data);
        block.store(planted::peer_ptr(window, 1), data, sizeof data, StorePolicy::kPlain);
        signals.signal(1, kArrived);
        ASSERT_TRUE(signals.wait(1, kTaken));
      } else {
        ASSERT_TRUE(signals.wait(0, kArrived));
        block.copy(data, planted::local_ptr(window), sizeof data);
        EXPECT_EQ(data[kMessage - 1], round);
        signals.signal(0, kTaken);
      }
      signals.close();
    }
  });
}

/// Each rank reads what the other stored before a barrier; a second one lets both store again.
template <Site site>
void barriers() {
  SignalMemory memory;
  memory.run([&](int rank) {
    const tw_window_view window = memory.window(rank);
    const tw_signal_view view = memory.signals(rank);
    CpuBlock<site> block(0, 1, "barriers", view.wait);
    Signals<CpuBlock<site>> signals(block, view);
    for (uint64_t stage = 1; stage < 2 * kRounds; stage += 2) {
      *reinterpret_cast<uint64_t*>(planted::local_ptr(window)) = stage;
      ASSERT_TRUE(signals.barrier(0, stage));
      EXPECT_EQ(*reinterpret_cast<const uint64_t*>(planted::peer_ptr(window, 1 - rank)), stage);
      ASSERT_TRUE(signals.barrier(0, stage + 1));
    }
    signals.close();
  });
}

/// Two blocks of a launch, each on a thread: the last to close advances the set's epoch.
template <class Block>
void two_blocks() {
  SignalMemory memory;
  memory.run([&](int rank) {
    const tw_signal_view view = memory.signals(rank);
    for (int round = 0; round < kRounds; ++round) {
      const auto run = [&](int index) {
        Block block(index, 2, "two_blocks", view.wait);
        Signals<Block> signals(block, view);
        const auto slot = static_cast<size_t>(index);
        ASSERT_TRUE(signals.barrier(slot));
        signals.close();
      };
      std::thread other(run, 1);
      run(0);
      other.join();
    }
  });
}

TEST_F(PlantedSignals, NothingPlantedNothingReported) {
  expect_race(
      [] {
        message<Site::kNone>();
        barriers<Site::kNone>();
        two_blocks<CpuBlock<Site::kNone>>();
      },
      false);
}

TEST_F(PlantedSignals, Signal) { expect_race(message<Site::kSignal>, true); }
TEST_F(PlantedSignals, Barrier) { expect_race(barriers<Site::kSignal>, true); }
TEST_F(PlantedSignals, LastBlock) { expect_race(two_blocks<WeakLast>, true); }

}  // namespace
}  // namespace tw::test

#endif  // TW_SANITIZE_THREAD
