// tw_all_reduce: every type and op, ragged counts, memory kinds, 1 to 64 ranks.
#include <gtest/gtest.h>

#include "tests/runner/coll_cases.h"

namespace tw::test {
namespace {

class AllReduce : public testing::TestWithParam<int> {};

TEST_P(AllReduce, Cases) { run_cases(GetParam(), cases_of(kAllReduce, GetParam())); }

INSTANTIATE_TEST_SUITE_P(Ranks, AllReduce, testing::Values(1, 2, 3, 4, 5, 8));

TEST(AllReduceMany, SixtyFourRanks) { run_cases(64, few_cases_of(kAllReduce, 64)); }

}  // namespace
}  // namespace tw::test
