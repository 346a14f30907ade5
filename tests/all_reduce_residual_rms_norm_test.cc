// tw_all_reduce_residual_rms_norm.
#include <gtest/gtest.h>

#include "tests/runner/gemm_runner.h"

namespace tw::test {
namespace {

class AllReduceResidualRmsNorm : public testing::TestWithParam<int> {};

TEST_P(AllReduceResidualRmsNorm, Cases) {
  run_gemm_op(GemmOp::kAllReduceNorm, gemm_cases_here(GemmOp::kAllReduceNorm), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Ranks, AllReduceResidualRmsNorm, testing::Values(1, 2, 3));

TEST(AllReduceResidualRmsNormMany, UpToSixteenRanks) {
  for (const int ranks : {4, 8, 16})
    run_gemm_op(GemmOp::kAllReduceNorm, few_gemm_cases(GemmOp::kAllReduceNorm), ranks);
}

}  // namespace
}  // namespace tw::test
