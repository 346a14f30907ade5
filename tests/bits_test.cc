// The same bits whatever carries a collective out: every algorithm, chunk, store policy and number
// of blocks that the choice table can take, forced in turn, against one reference run.
#include <gtest/gtest.h>

#include <mutex>

#include "tests/runner/coll_cases.h"
#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

/// Large enough for several chunks and for every algorithm's limits, ragged.
constexpr size_t kBitsCounts[] = {5, 129, 3001, 40007};
constexpr size_t kArena = 4 << 20;

std::vector<CollCase> bits_cases(int ranks) {
  std::vector<CollCase> cases;
  for (CollOp call :
       {kAllReduce, kReduce, kReduceScatter, kReduceScatterV, kAllGather, kBroadcast, kAllToAll})
    for (tw_type_t type : {TW_FP32, TW_BF16, TW_FP16, TW_FP8_E4M3})
      for (size_t count : kBitsCounts)
        for (Memory memory : {Memory::kPrivate, Memory::kWindow}) {
          CollCase c;
          c.call = call;
          c.type = type;
          c.op = type == TW_FP16 ? TW_AVG : TW_SUM;
          c.count = count;
          c.root = ranks - 1;
          c.memory = memory;
          cases.push_back(c);
        }
  return cases;
}

/// Every case's received bytes on every rank.
using Results = std::vector<std::vector<std::vector<unsigned char>>>;
/// What every rank sends: to make it takes longer than to reduce it.
using Inputs = std::vector<CaseRunner::Inputs>;

Results results(int n, Inputs* inputs) {
  const ThreadRanks ranks(n);
  const std::vector<CollCase> cases = bits_cases(n);
  Results all(n, std::vector<std::vector<unsigned char>>(cases.size()));
  inputs->resize(n);
  ranks.run([&](int rank, tw_comm_t comm) {
    CaseRunner runner(comm, kArena);
    runner.reuse(&(*inputs)[rank]);
    for (size_t i = 0; i < cases.size(); ++i) {
      if (!runner.start(cases[i], 7 + i, nullptr)) return;
      all[rank][i] = runner.received();
    }
  });
  return all;
}

class Bits : public testing::TestWithParam<int> {};

TEST_P(Bits, SameForEveryChoice) {
  const int n = GetParam();
  const std::vector<CollCase> cases = bits_cases(n);
  Inputs inputs;
  const Results want = results(n, &inputs);
  const auto compare = [&](const std::string& what) {
    const Results got = results(n, &inputs);
    for (int rank = 0; rank < n; ++rank)
      for (size_t i = 0; i < cases.size(); ++i)
        ASSERT_EQ(got[rank][i], want[rank][i])
            << what << ": " << cases[i].name(n) << " rank " << rank << " differs";
  };
  for (const char* algo : {"packet", "slot", "pull", "direct"}) {
    const ScopedEnv force("TW_COLL_ALGO", algo);
    for (const char* chunk : {"", "1K", "4160", "64K"}) {
      const ScopedEnv chunks("TW_COLL_CHUNK", chunk);
      compare(std::string(algo) + " chunk " + chunk);
    }
    const ScopedEnv store("TW_COLL_STORE", "nontemporal");
    compare(std::string(algo) + " nontemporal");
    const ScopedEnv workers("TW_COMM_WORKERS", "3"), blocks("TW_COLL_BLOCKS", "3");
    compare(std::string(algo) + " nontemporal, 3 blocks");
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, Bits, testing::Values(2, 3, 5));

TEST(Bits, EqualOnAllRanksAndInEveryRun) {
  Inputs inputs;
  const Results first = results(4, &inputs);
  const Results second = results(4, &inputs);
  EXPECT_EQ(first, second);
  const std::vector<CollCase> cases = bits_cases(4);
  for (size_t i = 0; i < cases.size(); ++i)
    for (int rank = 1; cases[i].call == kAllReduce && rank < 4; ++rank)
      EXPECT_EQ(first[rank][i], first[0][i]) << cases[i].name(4);
}

TEST(Bits, DataShowsTheOrderOfSummation) {
  // If these inputs summed to the same bits in any order, the tests above could not fail.
  int differ = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    float v[3];
    for (uint64_t r = 0; r < 3; ++r) make_element(TW_FP32, TW_SUM, i * 64 + r, &v[r]);
    const volatile float ab = v[0] + v[1], bc = v[1] + v[2];
    differ += ab + v[2] != v[0] + bc;
  }
  EXPECT_GT(differ, 100);
}

}  // namespace
}  // namespace tw::test
