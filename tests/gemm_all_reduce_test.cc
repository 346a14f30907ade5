// tw_gemm_all_reduce.
#include <gtest/gtest.h>

#include "tests/runner/gemm_runner.h"

namespace tw::test {
namespace {

class GemmAllReduce : public testing::TestWithParam<int> {};

TEST_P(GemmAllReduce, Cases) {
  run_gemm_op(GemmOp::kGemmAllReduce, gemm_cases_here(GemmOp::kGemmAllReduce), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Ranks, GemmAllReduce, testing::Values(1, 2, 3));

TEST(GemmAllReduceMany, UpToSixteenRanks) {
  for (const int ranks : {4, 8, 16})
    run_gemm_op(GemmOp::kGemmAllReduce, few_gemm_cases(GemmOp::kGemmAllReduce), ranks);
}

}  // namespace
}  // namespace tw::test
