// tw_all_gather_gemm.
#include <gtest/gtest.h>

#include "tests/runner/gemm_runner.h"

namespace tw::test {
namespace {

class AllGatherGemm : public testing::TestWithParam<int> {};

TEST_P(AllGatherGemm, Cases) {
  run_gemm_op(GemmOp::kAllGatherGemm, gemm_cases_here(GemmOp::kAllGatherGemm), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Ranks, AllGatherGemm, testing::Values(1, 2, 3));

TEST(AllGatherGemmMany, UpToSixteenRanks) {
  for (const int ranks : {4, 8, 16})
    run_gemm_op(GemmOp::kAllGatherGemm, few_gemm_cases(GemmOp::kAllGatherGemm), ranks);
}

}  // namespace
}  // namespace tw::test
