// tw_all_gather and tw_all_gather_v.
#include <gtest/gtest.h>

#include "tests/runner/coll_cases.h"

namespace tw::test {
namespace {

class AllGather : public testing::TestWithParam<int> {};

TEST_P(AllGather, Cases) {
  run_cases(GetParam(), cases_of(kAllGather, GetParam()));
  run_cases(GetParam(), cases_of(kAllGatherV, GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Ranks, AllGather, testing::Values(1, 2, 3, 4, 5, 8));

TEST(AllGatherMany, SixtyFourRanks) {
  run_cases(64, few_cases_of(kAllGather, 64));
  run_cases(64, few_cases_of(kAllGatherV, 64));
}

}  // namespace
}  // namespace tw::test
