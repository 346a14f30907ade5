// Collectives and fused calls on virtual GPUs under many schedules, by both architectures' kernels,
// with race
// detection: each schedule in a process of its own, whose driver reads it from the environment.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "tests/runner/children.h"
#include "tests/runner/coll_cases.h"
#include "tests/runner/gemm_runner.h"
#include "tests/runner/gpus.h"
#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

constexpr const char* kSchedulers[] = {"uniform", "priority", "slow_gpu", "slow_warp", "bounded"};
constexpr int kSchedules = 10, kManySchedules = 100;

/// Schedule `i`: its seed, scheduler, architecture and number of ranks, which it returns.
int set_schedule(int i) {
  const int ranks = 2 + i % 3;
  setenv("TW_VGPU", std::to_string(ranks).c_str(), 1);
  setenv("TW_VGPU_SEED", std::to_string(100 + i).c_str(), 1);
  setenv("TW_VGPU_SCHEDULER", kSchedulers[i % 5], 1);
  setenv("TW_VGPU_CAPABILITY", i % 2 == 0 ? "90" : "80", 1);
  setenv("TW_VGPU_RACES", "on", 1);
  setenv("TW_DEVICE_KIND", "gpu", 1);
  return ranks;
}

int run_collectives(int i) {
  const int ranks = set_schedule(i);
  for (uint32_t op = 0; op < kCollectives; ++op)
    run_cases(ranks, few_cases_of(static_cast<CollOp>(op), ranks), 1 << 18);
  return testing::Test::HasFailure() ? 1 : 0;
}

/// Some of the few cases, other ones each time, by one way.
int run_fused_calls(int i) {
  const int ranks = set_schedule(i);
  constexpr GemmWay kWays[] = {
      {"always", "via_owner", "2"}, {"always", "one_shot", "3"}, {"never", "", "2"}};
  for (const GemmOp op : kGemmOps) {
    const std::vector<GemmCase> all = few_gemm_cases(op), boxed = boxed_gemm_cases(op);
    const size_t turn = static_cast<size_t>(i) + static_cast<size_t>(op);
    std::vector<GemmCase> some = {all[turn % all.size()]};
    some.push_back(turn % 2 == 0 ? boxed[turn / 2 % boxed.size()] : all[(turn + 3) % all.size()]);
    run_gemm_ways(op, some, ranks, {kWays[(i / 2 + static_cast<int>(op)) % 3]});
  }
  return testing::Test::HasFailure() ? 1 : 0;
}

void run_schedules(int (*run)(int)) {
  const std::string why = load_gpus();
  if (!why.empty()) GTEST_SKIP() << why;
  const int schedules = std::getenv("TW_TEST_LONG") != nullptr ? kManySchedules : kSchedules;
  const std::vector<int> results = run_children(schedules, 1, run);
  for (int i = 0; i < schedules; ++i)
    EXPECT_EQ(results[static_cast<size_t>(i)], 0)
        << "schedule " << i << " (TW_TEST_LOUD=1 shows its output)";
}

TEST(GpuSchedules, Collectives) { run_schedules(run_collectives); }
TEST(GpuSchedules, FusedCalls) { run_schedules(run_fused_calls); }

}  // namespace
}  // namespace tw::test
