// GEMM and the fused calls of comms on GPUs, by the C API: the tables of cases that CPUs have.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <tuple>
#include <vector>

#include "tests/runner/gemm_runner.h"
#include "tests/runner/gpus.h"
#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

/// The ways that differ on GPUs: by each path in one kernel, and by parts.
std::vector<GemmWay> ways_of(GemmOp op) {
  if (op == GemmOp::kGemm) return {{"", "", "3"}};
  if (op == GemmOp::kGemmAllReduce || op == GemmOp::kAllReduceNorm)
    return {{"always", "via_owner", "2"}, {"always", "one_shot", "3"}, {"never", "", "2"}};
  return {{"always", "", "2"}, {"never", "", "3"}};
}

/// Whole on two GPUs with TW_TEST_LONG=1.
class GpuGemm : public testing::TestWithParam<std::tuple<int, GemmOp>> {};

TEST_P(GpuGemm, Cases) {
  const auto [n, op] = GetParam();
  TW_NEED_GPUS(n);
  const ScopedEnv on_gpus("TW_DEVICE_KIND", "gpu");
  const bool whole = std::getenv("TW_TEST_LONG") != nullptr && n <= 2;
  std::vector<GemmCase> cases = whole ? gemm_cases(op) : few_gemm_cases(op);
  if (whole || n == 2) {
    const std::vector<GemmCase> boxed = boxed_gemm_cases(op);
    cases.insert(cases.end(), boxed.begin(), boxed.end());
  }
  run_gemm_ways(op, cases, n, ways_of(op));
}

std::string case_name(const testing::TestParamInfo<std::tuple<int, GemmOp>>& info) {
  return std::string(name_of(std::get<1>(info.param))) + "_" +
         std::to_string(std::get<0>(info.param));
}

INSTANTIATE_TEST_SUITE_P(Ranks, GpuGemm,
                         testing::Combine(testing::Values(1, 2, 3, 5, 8),
                                          testing::ValuesIn(kGemmOps)),
                         case_name);

}  // namespace
}  // namespace tw::test
