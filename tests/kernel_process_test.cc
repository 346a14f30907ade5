// Kernels of the user's own on ranks that are processes, each with one thread: a wait for any rank
// outlasts peers that come late, and ends when none can come any more.
#include <gtest/gtest.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "tests/runner/processes.h"
#include "tilewire/signal_device.h"
#include "tilewire/tile/kernel.h"
#include "tilewire/tile/signals.h"

struct AnyArgs {
  tw_signal_view signals;  // slots: 2
  int* first;              // who came first
};

#define TW_KERNEL_ROWS "tests/support/kernel_process.def"
#include "tilewire/kernels/table.h"

namespace TW_NS {

/// Rank 0 waits until any other rank has come, and tells which; then all meet.
template <class Block>
TW_FN void first_of(Block& block, const AnyArgs& args) {
  Signals<Block> signals(block, args.signals);
  if (signals.rank() == 0) {
    *args.first = signals.wait_any(0);
    if (*args.first < 0) return;
  } else {
    signals.signal(0, 0);
  }
  if (signals.barrier(1)) signals.close();
}
TW_KERNEL(first_of, AnyArgs)

template <class Block>
TW_FN void plain_first_of(Block& block, const AnyArgs& args) {
  OpenSignals signals(args.signals, block.index(), block.blocks(), block.name());
  const ThisBlock me;
  if (args.signals.rank == 0) {
    *args.first = signals.wait_any(me, 0);
    if (*args.first < 0) return;
  } else {
    signals.signal(me, 0, 0);
  }
  if (signals.barrier(me, 1)) signals.close();
}
TW_KERNEL(plain_first_of, AnyArgs)

}  // namespace TW_NS

namespace {

void sleep_ms(int ms) {
  const timespec t = {ms / 1000, ms % 1000 * 1000000L};
  nanosleep(&t, nullptr);
}

/// 0, or which step failed.
int launches(const tw_kernel_t& kernel, int rank, tw_comm_t comm) {
  tw_signals_t signals;
  int first = -1;
  AnyArgs args = {{}, &first};
  if (tw_signals_create(comm, 2, &signals) != TW_OK) return 1;
  if (tw_signals_get_view(signals, &args.signals) != TW_OK) return 2;
  for (int launch = 0; launch < 3; ++launch) {
    // Rank 2 comes first, rank 1 is late: longer than it takes to look for threads that could come.
    if (rank != 0) sleep_ms(rank == 1 ? 500 : 250);
    if (tw_kernel_launch(&kernel, comm, &args, sizeof args, 1, nullptr) != TW_OK) {
      std::fprintf(stderr, "rank %d: %s\n", rank, tw_last_error());
      return 3;
    }
    if (rank == 0 && first < 1) return 4;
  }
  return tw_signals_destroy(signals) == TW_OK ? 0 : 5;
}

TEST(KernelProcess, AWaitForAnyRankOutlastsLatePeers) {
  for (int n = 2; n <= 3; ++n)
    tw::test::run_processes(
        n, [](int rank, tw_comm_t comm) { return launches(first_of_kernel, rank, comm); });
}

TEST(KernelProcess, ThePlainViewsDoToo) {
  tw::test::run_processes(
      2, [](int rank, tw_comm_t comm) { return launches(plain_first_of_kernel, rank, comm); });
}

TEST(KernelProcess, AWaitForAnyRankEndsWhenAllOthersHaveLeft) {
  tw::test::run_processes(3, [](int rank, tw_comm_t comm) {
    tw_signals_t signals;
    int first = -1;
    AnyArgs args = {{}, &first};
    if (tw_signals_create(comm, 2, &signals) != TW_OK) return 1;
    if (tw_signals_get_view(signals, &args.signals) != TW_OK) return 2;
    // The others leave without having raised anything; with a live set only the process can.
    if (rank != 0) _exit(0);
    const tw_status_t status =
        tw_kernel_launch(&first_of_kernel, comm, &args, sizeof args, 1, nullptr);
    if (status != TW_ERROR_PEER_LOST) return 3;
    return tw_signals_destroy(signals) == TW_OK ? 0 : 4;
  });
}

}  // namespace
