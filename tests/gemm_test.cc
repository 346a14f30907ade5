// tw_gemm and tw_pack_weights.
#include <gtest/gtest.h>

#include "tests/runner/gemm_runner.h"

namespace tw::test {
namespace {

class Gemm : public testing::TestWithParam<int> {};

TEST_P(Gemm, Cases) {
  run_gemm_op(GemmOp::kGemm, gemm_cases(GemmOp::kGemm), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Ranks, Gemm, testing::Values(1, 2));

TEST(GemmMany, EightAndSixteenRanks) {
  for (const int ranks : {8, 16})
    run_gemm_op(GemmOp::kGemm, few_gemm_cases(GemmOp::kGemm), ranks);
}

}  // namespace
}  // namespace tw::test
