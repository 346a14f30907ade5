// tw_gemm_all_to_all.
#include <gtest/gtest.h>

#include "tests/runner/gemm_runner.h"

namespace tw::test {
namespace {

class GemmAllToAll : public testing::TestWithParam<int> {};

TEST_P(GemmAllToAll, Cases) {
  run_gemm_op(GemmOp::kGemmAllToAll, gemm_cases_here(GemmOp::kGemmAllToAll), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Ranks, GemmAllToAll, testing::Values(1, 2, 3));

TEST(GemmAllToAllMany, UpToSixteenRanks) {
  for (const int ranks : {4, 8, 16})
    run_gemm_op(GemmOp::kGemmAllToAll, few_gemm_cases(GemmOp::kGemmAllToAll), ranks);
}

}  // namespace
}  // namespace tw::test
