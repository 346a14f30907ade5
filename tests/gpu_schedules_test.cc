// Collectives on virtual GPUs under many schedules, by both architectures' kernels, with race
// detection: each schedule in a process of its own, whose driver reads it from the environment.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "tests/runner/children.h"
#include "tests/runner/coll_cases.h"
#include "tests/runner/gpus.h"
#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

constexpr const char* kSchedulers[] = {"uniform", "priority", "slow_gpu", "slow_warp", "bounded"};
constexpr int kSchedules = 10, kManySchedules = 100;

/// Schedule `i`: its seed, scheduler, architecture and number of ranks.
int run_schedule(int i) {
  const int ranks = 2 + i % 3;
  setenv("TW_VGPU", std::to_string(ranks).c_str(), 1);
  setenv("TW_VGPU_SEED", std::to_string(100 + i).c_str(), 1);
  setenv("TW_VGPU_SCHEDULER", kSchedulers[i % 5], 1);
  setenv("TW_VGPU_CAPABILITY", i % 2 == 0 ? "90" : "80", 1);
  setenv("TW_VGPU_RACES", "on", 1);
  setenv("TW_DEVICE_KIND", "gpu", 1);
  for (uint32_t op = 0; op < kCollectives; ++op)
    run_cases(ranks, few_cases_of(static_cast<CollOp>(op), ranks), 1 << 18);
  return testing::Test::HasFailure() ? 1 : 0;
}

TEST(GpuSchedules, NoRaceAndTheRightBits) {
  const std::string why = load_gpus();
  if (!why.empty()) GTEST_SKIP() << why;
  const int schedules = std::getenv("TW_TEST_LONG") != nullptr ? kManySchedules : kSchedules;
  const std::vector<int> results = run_children(schedules, 1, run_schedule);
  for (int i = 0; i < schedules; ++i)
    EXPECT_EQ(results[static_cast<size_t>(i)], 0)
        << "schedule " << i << " (TW_TEST_LOUD=1 shows its output)";
}

}  // namespace
}  // namespace tw::test
