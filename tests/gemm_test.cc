// tw_gemm and tw_pack_weights.
#include <gtest/gtest.h>

#include "tests/runner/gemm_runner.h"

namespace tw::test {
namespace {

class Gemm : public testing::TestWithParam<int> {};

TEST_P(Gemm, Cases) { run_gemm_op(GemmOp::kGemm, gemm_cases_here(GemmOp::kGemm), GetParam()); }

INSTANTIATE_TEST_SUITE_P(Ranks, Gemm, testing::Values(1, 2));

}  // namespace
}  // namespace tw::test
