// tw_gather and tw_scatter: every type and root.
#include <gtest/gtest.h>

#include "tests/runner/coll_cases.h"

namespace tw::test {
namespace {

class GatherScatter : public testing::TestWithParam<int> {};

TEST_P(GatherScatter, Cases) {
  run_cases(GetParam(), cases_of(kGather, GetParam()));
  run_cases(GetParam(), cases_of(kScatter, GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Ranks, GatherScatter, testing::Values(1, 2, 3, 4, 5, 8));

TEST(GatherScatterMany, SixtyFourRanks) {
  run_cases(64, few_cases_of(kGather, 64));
  run_cases(64, few_cases_of(kScatter, 64));
}

}  // namespace
}  // namespace tw::test
