// tw_gemm_reduce_scatter.
#include <gtest/gtest.h>

#include "tests/runner/gemm_runner.h"

namespace tw::test {
namespace {

class GemmReduceScatter : public testing::TestWithParam<int> {};

TEST_P(GemmReduceScatter, Cases) {
  run_gemm_op(GemmOp::kGemmReduceScatter, gemm_cases_here(GemmOp::kGemmReduceScatter), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Ranks, GemmReduceScatter, testing::Values(1, 2, 3));

TEST(GemmReduceScatterMany, UpToSixteenRanks) {
  for (const int ranks : {4, 8, 16})
    run_gemm_op(GemmOp::kGemmReduceScatter, few_gemm_cases(GemmOp::kGemmReduceScatter), ranks);
}

}  // namespace
}  // namespace tw::test
