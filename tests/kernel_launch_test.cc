// Kernels of the user's own: tables, launches inline and queued, what is refused. The kernels below
// are compiled with this file, for the portable target only; example 03 builds all targets.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "tests/runner/ranks.h"
#include "tilewire/signal_device.h"
#include "tilewire/tile/kernel.h"
#include "tilewire/tile/signals.h"
#include "tilewire/window_device.h"

/// Each rank's block b sends part b of its window's first half to the right neighbour's second.
struct ShiftArgs {
  tw_window_view window;
  tw_signal_view signals;  // slots: 2 a block
  size_t bytes;
};

/// Counts: how often each block ran.
struct CountArgs {
  tw_signal_view signals;  // not used: every kernel has something that bounds its waits
  std::atomic<int>* runs;
  int first, last;
};

/// Waits for a signal that nobody raises.
struct StuckArgs {
  tw_signal_view signals;
};

#define TW_KERNEL_ROWS "tests/support/kernel_launch.def"
#include "tilewire/kernels/table.h"

namespace TW_NS {

template <class Block>
TW_FN void shift(Block& block, const ShiftArgs& args) {
  Signals<Block> signals(block, args.signals);
  const int rank = args.window.rank, size = args.window.size;
  const int right = (rank + 1) % size, left = (rank + size - 1) % size;
  const size_t arrived = 2 * static_cast<size_t>(block.index()), ready = arrived + 1;
  const Range part = part_of({0, args.bytes}, block.index(), block.blocks(), Target::kGranule);
  signals.signal(left, ready);
  if (!signals.wait(right, ready)) return;
  block.store(peer_ptr(args.window, right, args.bytes + part.begin),
              local_ptr(args.window, part.begin), part.size(), tw::StorePolicy::kPlain);
  signals.signal(right, arrived);
  if (!signals.wait(left, arrived)) return;
  signals.close();
}
TW_KERNEL(shift, ShiftArgs)

/// The same with the plain views.
template <class Block>
TW_FN void plain_shift(Block& block, const ShiftArgs& args) {
  OpenSignals signals(args.signals, block.index(), block.blocks(), block.name());
  const int rank = args.window.rank, size = args.window.size;
  const int right = (rank + 1) % size, left = (rank + size - 1) % size;
  const size_t arrived = 2 * static_cast<size_t>(block.index()), ready = arrived + 1;
  const Range part = part_of({0, args.bytes}, block.index(), block.blocks(), Target::kGranule);
  signals.signal(ThisBlock(), left, ready);
  if (!signals.wait(ThisBlock(), right, ready)) return;
  signals.put_signal(ThisBlock(), args.window, right, args.bytes + part.begin,
                     local_ptr(args.window, part.begin), part.size(), arrived);
  if (!signals.wait(ThisBlock(), left, arrived)) return;
  signals.close();
}
TW_KERNEL(plain_shift, ShiftArgs)

template <class Block>
TW_FN void count(Block& block, const CountArgs& args) {
  if (args.first + 1 != args.last) return;  // args were not copied whole
  args.runs[block.index()].fetch_add(block.blocks());
}
TW_KERNEL(count, CountArgs)

template <class Block>
TW_FN void stuck(Block& block, const StuckArgs& args) {
  Signals<Block> signals(block, args.signals);
  if (!signals.wait((args.signals.rank + 1) % args.signals.size, 0)) return;
  signals.close();
}
TW_KERNEL(stuck, StuckArgs)

}  // namespace TW_NS

namespace {

using tw::test::ThreadRanks;

constexpr size_t kBytes = 10000;
constexpr int kBlocks = 6;

bool said(const std::string& part) {
  return std::string(tw_last_error()).find(part) != std::string::npos;
}

/// Three launches and more, on a queue or inline, without anything being set between them.
void shift_around(const tw_kernel_t& kernel, int n, int blocks, bool queued) {
  const ThreadRanks ranks(n);
  ranks.run([&](int rank, tw_comm_t comm) {
    tw_stream_t stream = nullptr;
    if (queued) {
      ASSERT_EQ(tw_stream_create(nullptr, &stream), TW_OK);
    }
    tw_window_t window;
    tw_signals_t signals;
    ASSERT_EQ(tw_window_create(comm, 2 * kBytes, &window), TW_OK);
    ASSERT_EQ(tw_signals_create(comm, 2 * kBlocks, &signals), TW_OK);
    ShiftArgs args = {};
    ASSERT_EQ(tw_window_get_view(window, &args.window), TW_OK);
    ASSERT_EQ(tw_signals_get_view(signals, &args.signals), TW_OK);
    args.bytes = kBytes;
    void* memory;
    ASSERT_EQ(tw_window_ptr(window, rank, &memory), TW_OK);
    auto* const mine = static_cast<unsigned char*>(memory);
    for (size_t i = 0; i < kBytes; ++i) mine[i] = static_cast<unsigned char>(13 * i + 31 * rank);
    for (int launch = 1; launch <= 4; ++launch) {
      ASSERT_EQ(tw_kernel_launch(&kernel, comm, &args, sizeof args, blocks, stream), TW_OK)
          << tw_last_error();
      ASSERT_EQ(tw_stream_synchronize(stream), TW_OK) << tw_last_error();
      const int from = ((rank - launch) % n + n) % n;
      for (size_t i = 0; i < kBytes; ++i)
        ASSERT_EQ(mine[kBytes + i], static_cast<unsigned char>(13 * i + 31 * from)) << i;
      std::memcpy(mine, mine + kBytes, kBytes);
    }
    EXPECT_EQ(tw_signals_destroy(signals), TW_OK);
    EXPECT_EQ(tw_window_destroy(window), TW_OK);
    if (queued) {
      EXPECT_EQ(tw_stream_destroy(stream), TW_OK);
    }
  });
}

TEST(KernelLaunch, ATileProgramWithOneBlock) { shift_around(shift_kernel, 3, 1, false); }
TEST(KernelLaunch, ATileProgramWithMoreBlocksThanWorkers) {
  shift_around(shift_kernel, 2, kBlocks, false);
}
TEST(KernelLaunch, ATileProgramOnAQueue) { shift_around(shift_kernel, 2, kBlocks, true); }
TEST(KernelLaunch, PlainViewsInAKernel) { shift_around(plain_shift_kernel, 3, kBlocks, false); }

TEST(KernelLaunch, RunsEveryBlockAndCopiesArguments) {
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.workers = 3;
  const ThreadRanks ranks(1, &config);
  tw_stream_t stream;
  ASSERT_EQ(tw_stream_create(nullptr, &stream), TW_OK);
  std::atomic<int> runs[64] = {};
  for (int i = 0; i < 10; ++i) {
    CountArgs args = {{}, runs, i, i + 1};
    ASSERT_EQ(tw_kernel_launch(&count_kernel, ranks.comm(0), &args, sizeof args, 5, stream), TW_OK)
        << tw_last_error();
    args = {};  // the call has its copy
  }
  ASSERT_EQ(tw_stream_synchronize(stream), TW_OK) << tw_last_error();
  for (int b = 0; b < 64; ++b) EXPECT_EQ(runs[b].exchange(0), b < 5 ? 50 : 0) << b;
  // 0 blocks: the comm's default, which is its workers.
  CountArgs args = {{}, runs, 1, 2};
  ASSERT_EQ(tw_kernel_launch(&count_kernel, ranks.comm(0), &args, sizeof args, 0, nullptr), TW_OK);
  for (int b = 0; b < 64; ++b) EXPECT_EQ(runs[b].exchange(0), b < 3 ? 3 : 0) << b;
  ASSERT_EQ(tw_comm_set_max_blocks(ranks.comm(0), 2), TW_OK);
  ASSERT_EQ(tw_kernel_launch(&count_kernel, ranks.comm(0), &args, sizeof args, 0, nullptr), TW_OK);
  for (int b = 0; b < 64; ++b) EXPECT_EQ(runs[b].exchange(0), b < 2 ? 2 : 0) << b;
  EXPECT_EQ(tw_stream_destroy(stream), TW_OK);
}

TEST(KernelLaunch, AFailedWaitIsTheLaunchsError) {
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.timeout_ms = 50;
  const ThreadRanks ranks(2, &config);
  tw_signals_t signals[2] = {};
  ranks.run([&](int rank, tw_comm_t comm) {
    ASSERT_EQ(tw_signals_create(comm, 1, &signals[rank]), TW_OK);
  });
  StuckArgs args = {};
  ASSERT_EQ(tw_signals_get_view(signals[0], &args.signals), TW_OK);
  EXPECT_EQ(tw_kernel_launch(&stuck_kernel, ranks.comm(0), &args, sizeof args, 1, nullptr),
            TW_ERROR_TIMEOUT);
  EXPECT_TRUE(said("stuck") && said("rank 0") && said("for rank 1")) << tw_last_error();
  ranks.run([&](int rank, tw_comm_t) { EXPECT_EQ(tw_signals_destroy(signals[rank]), TW_OK); });
}

TEST(KernelLaunch, RefusesWhatDoesNotFit) {
  const ThreadRanks ranks(1);
  const tw_comm_t comm = ranks.comm(0);
  std::atomic<int> runs[64] = {};
  const CountArgs args = {{}, runs, 1, 2};
  const auto launch = [&](const tw_kernel_t& kernel, size_t bytes = sizeof(CountArgs),
                          int blocks = 1) {
    return tw_kernel_launch(&kernel, comm, &args, bytes, blocks, nullptr);
  };
  EXPECT_EQ(launch(count_kernel, sizeof args - 1), TW_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(said("count") && said(std::to_string(sizeof args))) << tw_last_error();
  tw_kernel_t other = count_kernel;
  other.version += 1;
  EXPECT_EQ(launch(other), TW_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(said("layout version")) << tw_last_error();
  other = count_kernel;
  other.size = 8;
  EXPECT_EQ(launch(other), TW_ERROR_INVALID_ARGUMENT);
  other = count_kernel;
  for (auto& entry : other.cpu) entry = nullptr;
  EXPECT_EQ(launch(other), TW_ERROR_UNSUPPORTED);
  EXPECT_TRUE(said("not built for cpu_")) << tw_last_error();
  EXPECT_EQ(launch(count_kernel, sizeof args, -1), TW_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(launch(count_kernel, sizeof args, 65), TW_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(said("65") && said("valid: 0 to 64")) << tw_last_error();
  EXPECT_EQ(tw_kernel_launch(nullptr, comm, &args, sizeof args, 1, nullptr),
            TW_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(tw_kernel_launch(&count_kernel, comm, nullptr, sizeof args, 1, nullptr),
            TW_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(tw_kernel_launch(&count_kernel, nullptr, &args, sizeof args, 1, nullptr),
            TW_ERROR_INVALID_HANDLE);
  for (auto& run : runs) EXPECT_EQ(run.load(), 0);
  EXPECT_EQ(launch(count_kernel), TW_OK) << tw_last_error();
  EXPECT_EQ(runs[0].load(), 1);
}

TEST(KernelLaunch, TheTableSaysWhatWasBuilt) {
  EXPECT_STREQ(count_kernel.name, "count");
  EXPECT_EQ(count_kernel.args_bytes, sizeof(CountArgs));
  EXPECT_EQ(count_kernel.version, tw::kCommLayoutVersion);
  EXPECT_EQ(count_kernel.cpu[0], nullptr);  // this file is compiled for the portable target only
  EXPECT_NE(count_kernel.cpu[2], nullptr);
  EXPECT_EQ(count_kernel.cubin, nullptr);
  EXPECT_EQ(count_kernel.cubin_bytes, 0u);
}

}  // namespace
