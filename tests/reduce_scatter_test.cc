// tw_reduce_scatter and tw_reduce_scatter_v.
#include <gtest/gtest.h>

#include "tests/runner/coll_cases.h"

namespace tw::test {
namespace {

class ReduceScatter : public testing::TestWithParam<int> {};

TEST_P(ReduceScatter, Cases) {
  run_cases(GetParam(), cases_of(kReduceScatter, GetParam()));
  run_cases(GetParam(), cases_of(kReduceScatterV, GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Ranks, ReduceScatter, testing::Values(1, 2, 3, 4, 5, 8));

TEST(ReduceScatterMany, SixtyFourRanks) {
  run_cases(64, few_cases_of(kReduceScatter, 64));
  run_cases(64, few_cases_of(kReduceScatterV, 64));
}

}  // namespace
}  // namespace tw::test
