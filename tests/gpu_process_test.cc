// Ranks as processes, each with its GPU: memory by descriptors, and a rank that dies.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <string>

#include "tests/runner/coll_cases.h"
#include "tests/runner/gpus.h"
#include "tests/runner/mortal_ranks.h"
#include "tests/runner/processes.h"
#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

constexpr CollOp kOps[] = {kAllReduce,     kReduce,         kBroadcast, kAllGather,
                           kReduceScatter, kAllToAll,       kGather,    kScatter,
                           kAllGatherV,    kReduceScatterV, kAllToAllV, kBarrier};

/// Some cases of every collective: 0, or 1 where one failed.
int run_some_cases(tw_comm_t comm, int ranks) {
  tw_device_t device = TW_DEVICE_INIT;
  EXPECT_EQ(tw_comm_device(comm, &device), TW_OK);
  EXPECT_EQ(device.kind, TW_DEVICE_GPU);
  CaseRunner runner(comm, 1 << 18);
  uint64_t seed = 1;
  for (const CollOp op : kOps)
    for (const CollCase& c : few_cases_of(op, ranks))
      if (!runner.run(c, ++seed)) return 1;
  return testing::Test::HasFailure() ? 1 : 0;
}

class GpuProcesses : public testing::TestWithParam<int> {};

// The parent starts no driver: its children could not use it.
TEST_P(GpuProcesses, Cases) {
  const std::string why = load_gpus();
  if (!why.empty()) GTEST_SKIP() << why;
  const ScopedEnv on_gpus("TW_DEVICE_KIND", "gpu");
  const int n = GetParam();
  run_processes(n, [n](int, tw_comm_t comm) {
    const int result = run_some_cases(comm, n);
    // Windows beyond the first segment: one more descriptor from each rank.
    tw_window_t large;
    if (tw_window_create(comm, size_t{48} << 20, &large) != TW_OK) return 2;
    const int again = run_some_cases(comm, n);
    if (tw_window_destroy(large) != TW_OK) return 3;
    return result != 0 ? result : again;
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, GpuProcesses, testing::Values(2, 3));

constexpr int kRanks = 3, kVictim = 1;
constexpr int64_t kNoticedWithinUs = 1'000'000;

struct Shared {
  std::atomic<int64_t> died;
  std::atomic<int64_t> noticed[kRanks];
  char complaints[kRanks][512];
};

[[noreturn]] void complain(Shared& shared, int rank, const char* what) {
  std::snprintf(shared.complaints[rank], sizeof shared.complaints[rank], "%s: %s", what,
                tw_last_error());
  _exit(1);
}

void run_rank(Shared& shared, const Root& root, int rank) {
  tw_comm_t comm = nullptr, rest = nullptr;
  if (tw_comm_create(kRanks, rank, &root.id(), nullptr, &comm) != TW_OK)
    complain(shared, rank, "create");
  tw_device_t device = TW_DEVICE_INIT;
  tw_comm_device(comm, &device);
  Gpu gpu(device.ordinal);
  void* const memory = gpu.allocate(1 << 16);
  tw_status_t status = TW_OK;
  for (int i = 0; status == TW_OK && i < 1000; ++i) {
    if (rank == kVictim && i == 3) {
      shared.died.store(now_us());
      raise(SIGKILL);
    }
    status = tw_all_reduce(memory, memory, 16384, TW_FP32, TW_SUM, comm, nullptr);
    gpu.synchronize();  // returns although the victim's part never comes
  }
  shared.noticed[rank] = now_us();
  if (status == TW_OK) status = tw_barrier(comm, nullptr);
  if (status != TW_ERROR_PEER_LOST) complain(shared, rank, "no PEER_LOST");
  if (std::strstr(tw_last_error(), "rank 1") == nullptr) complain(shared, rank, "no name");
  if (tw_comm_shrink(comm, nullptr, &rest) != TW_OK) complain(shared, rank, "shrink");
  if (run_some_cases(rest, kRanks - 1) != 0) complain(shared, rank, "cases of the survivors");
  if (tw_comm_destroy(rest) != TW_OK || tw_comm_destroy(comm) != TW_OK)
    complain(shared, rank, "destroy");
  _exit(0);
}

TEST(GpuProcess, ADeadRankEndsTheKernelsAndTheSurvivorsGoOn) {
  const std::string why = load_gpus();
  if (!why.empty()) GTEST_SKIP() << why;
  const ScopedEnv on_gpus("TW_DEVICE_KIND", "gpu");
  const InSharedMemory<Shared> shared;
  const Root root;
  run_mortal_ranks(
      kRanks, kVictim, [&](int rank) { run_rank(*shared, root, rank); },
      [&](int rank) { return std::string(shared->complaints[rank]); });
  for (const int rank : {0, 2})
    EXPECT_LT(shared->noticed[rank] - shared->died, kNoticedWithinUs) << "rank " << rank;
}

}  // namespace
}  // namespace tw::test
