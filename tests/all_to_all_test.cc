// tw_all_to_all and tw_all_to_all_v.
#include <gtest/gtest.h>

#include "tests/runner/coll_cases.h"

namespace tw::test {
namespace {

class AllToAll : public testing::TestWithParam<int> {};

TEST_P(AllToAll, Cases) {
  run_cases(GetParam(), cases_of(kAllToAll, GetParam()));
  run_cases(GetParam(), cases_of(kAllToAllV, GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Ranks, AllToAll, testing::Values(1, 2, 3, 4, 5, 8));

TEST(AllToAllMany, SixtyFourRanks) {
  run_cases(64, few_cases_of(kAllToAll, 64));
  run_cases(64, few_cases_of(kAllToAllV, 64));
}

}  // namespace
}  // namespace tw::test
