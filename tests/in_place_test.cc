// Some ranks in place, others not, in every mix of window and private memory: what a rank sends
// must have left before anything arrives over it.
#include <gtest/gtest.h>

#include <utility>

#include "tests/runner/coll_cases.h"
#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

std::vector<CollCase> cases() {
  std::vector<CollCase> all;
  for (uint32_t call = 0; call < kBarrier; ++call)
    for (const size_t count : {size_t{5}, size_t{4097}})
      for (const Memory memory :
           {Memory::kPrivate, Memory::kWindow, Memory::kMixed, Memory::kSplit})
        for (const int parity : {0, 1}) {
          CollCase c;
          c.call = static_cast<CollOp>(call);
          if (c.call == kAllToAllV) continue;
          c.count = count;
          c.memory = memory;
          c.in_place = true;
          c.in_place_parity = parity;
          all.push_back(c);
        }
  return all;
}

class InPlace : public testing::TestWithParam<int> {};

TEST_P(InPlace, OnSomeRanks) {
  const std::pair<const char*, const char*> choices[] = {
      {"packet", "plain"}, {"slot", "plain"},         {"pull", "plain"},
      {"direct", "plain"}, {"direct", "nontemporal"}, {"auto", "auto"}};
  for (const auto& [algo, store] : choices) {
    const ScopedEnv force("TW_COLL_ALGO", algo), policy("TW_COLL_STORE", store);
    run_cases(GetParam(), cases());
    ASSERT_FALSE(HasFailure()) << algo << ", " << store;
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, InPlace, testing::Values(2, 3));

}  // namespace
}  // namespace tw::test
