// Ranks as processes, each with its GPU: memory by descriptors, and a rank that dies.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "tests/runner/coll_cases.h"
#include "tests/runner/gemm_runner.h"
#include "tests/runner/gpus.h"
#include "tests/runner/mortal_ranks.h"
#include "tests/runner/processes.h"
#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

/// Some cases of every collective: 0, or 1 where one failed.
int run_some_cases(tw_comm_t comm, int ranks) {
  tw_device_t device = TW_DEVICE_INIT;
  EXPECT_EQ(tw_comm_device(comm, &device), TW_OK);
  EXPECT_EQ(device.kind, TW_DEVICE_GPU);
  CaseRunner runner(comm, 1 << 18);
  uint64_t seed = 1;
  for (uint32_t op = 0; op < kCollectives; ++op)
    for (const CollCase& c : few_cases_of(static_cast<CollOp>(op), ranks))
      if (!runner.run(c, ++seed)) return 1;
  for (const GemmOp op : {GemmOp::kAllGatherGemm, GemmOp::kGemmAllReduce}) {
    const std::vector<GemmCase> cases = few_gemm_cases(op);
    if (!run_gemm_cases(cases, work_out(cases, ranks), comm, "processes")) return 1;
  }
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

/// A product of 64 x 64 over `memory`.
tw_status_t multiply(tw_comm_t comm, void* memory) {
  float* const at = static_cast<float*>(memory);
  tw_gemm_args_t args = TW_GEMM_ARGS_INIT;
  args.m = args.n = args.k = 64;
  args.type = args.out_type = TW_FP32;
  args.a = at;
  args.b = at + 4096;
  args.c = at + 8192;
  return tw_gemm_all_reduce(&args, comm, nullptr);
}

/// `call` on memory of 64 KiB until the comm ends, one rank being killed on the way.
template <class MakeCall>
void kill_a_rank_in(MakeCall call) {
  const std::string why = load_gpus();
  if (!why.empty()) GTEST_SKIP() << why;
  const ScopedEnv on_gpus("TW_DEVICE_KIND", "gpu");
  constexpr int kRanks = 3;
  MortalWork work;
  work.until_it_fails = [call](tw_comm_t comm, int /*rank*/, const std::function<void()>& die) {
    tw_device_t device = TW_DEVICE_INIT;
    tw_comm_device(comm, &device);
    Gpu gpu(device.ordinal);
    void* const memory = gpu.allocate(1 << 16);
    tw_status_t status = TW_OK;
    for (int i = 0; status == TW_OK && i < 1000; ++i) {
      if (i == 3) die();
      status = call(comm, memory);
      gpu.synchronize();  // returns although the victim's part never comes
    }
    if (status == TW_OK) status = tw_barrier(comm, nullptr);
    return Ended{status, tw_last_error()};
  };
  work.go_on = [](tw_comm_t rest, int /*rank*/) -> std::string {
    return run_some_cases(rest, kRanks - 1) == 0 ? "" : "cases of the survivors";
  };
  run_mortal_ranks(kRanks, /*victim=*/1, work);
}

TEST(GpuProcess, ADeadRankEndsTheKernelsAndTheSurvivorsGoOn) {
  kill_a_rank_in([](tw_comm_t comm, void* memory) {
    return tw_all_reduce(memory, memory, 16384, TW_FP32, TW_SUM, comm, nullptr);
  });
}

TEST(GpuProcess, ADeadRankEndsFusedKernels) { kill_a_rank_in(multiply); }

}  // namespace
}  // namespace tw::test
