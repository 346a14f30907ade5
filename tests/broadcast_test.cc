// tw_broadcast: every type and root.
#include <gtest/gtest.h>

#include "tests/runner/coll_cases.h"

namespace tw::test {
namespace {

class Broadcast : public testing::TestWithParam<int> {};

TEST_P(Broadcast, Cases) { run_cases(GetParam(), cases_of(kBroadcast, GetParam())); }

INSTANTIATE_TEST_SUITE_P(Ranks, Broadcast, testing::Values(1, 2, 3, 4, 5, 8));

TEST(BroadcastMany, SixtyFourRanks) { run_cases(64, few_cases_of(kBroadcast, 64)); }

}  // namespace
}  // namespace tw::test
