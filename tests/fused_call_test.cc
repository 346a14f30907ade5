// The calls of the GEMM family as programs make them: values by every way, memory, streams, what is
// refused and what does not match.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/runner/ranks.h"
#include "tests/support/gemm_call.h"

namespace tw::test {
namespace {

/// Runs a problem on all ranks, `times` times, and checks the values.
void run_problem(const ThreadRanks& ranks, const GemmProblem& problem, int times = 1) {
  ranks.run([&](int rank, tw_comm_t comm) {
    GemmOperands operands(problem, rank, ranks.size());
    if (problem.packed) {
      ASSERT_EQ(operands.pack(comm), TW_OK) << tw_last_error();
    }
    const tw_gemm_args_t args = operands.args();
    for (int i = 0; i < times; ++i) {
      operands.poison();
      ASSERT_EQ(call_gemm(problem.entry, &args, comm, nullptr), TW_OK)
          << tw_last_error() << " m " << problem.m << " n " << problem.n << " k " << problem.k;
      ASSERT_EQ(operands.check(), "");
    }
  });
}

/// Problems that use every part of an op.
std::vector<GemmProblem> problems_of(GemmEntry entry) {
  std::vector<GemmProblem> all;
  GemmProblem p;
  p.entry = entry;
  const bool norm_only = entry == GemmEntry::kNorm;
  p.norm = norm_only;
  all.push_back(p);
  p.m = 67;
  p.n = 130;
  p.k = 33;
  p.gap = 3;
  p.max_blocks = 1;
  all.push_back(p);
  p.max_blocks = 0;
  p.out_type = TW_BF16;
  p.residual = entry != GemmEntry::kAllToAll;
  if (!norm_only) {
    p.bias = true;
    p.activation = TW_SILU;
    p.a_transposed = p.b_transposed = true;
  }
  all.push_back(p);
  p.in_place = p.residual;
  p.out_type = TW_FP16;
  p.type = TW_FP16;
  p.gathered = entry == GemmEntry::kAllGather;
  p.norm = entry == GemmEntry::kAllReduce || entry == GemmEntry::kGemm || norm_only;
  p.activation = TW_ACTIVATION_NONE;
  if (entry == GemmEntry::kReduceScatter || entry == GemmEntry::kAllReduce)
    p.partial_type = TW_FP32;
  if (!norm_only) p.packed = true, p.b_transposed = false;
  all.push_back(p);
  p.hidden = p.norm;
  p.a_transposed = false;
  p.m = 600;
  p.in_place = false;
  all.push_back(p);
  p.m = 1;
  all.push_back(p);
  p.k = 0;
  all.push_back(p);
  p.m = 0;
  all.push_back(p);
  if (entry == GemmEntry::kGemm || entry == GemmEntry::kAllGather) {
    p = GemmProblem{};
    p.entry = entry;
    p.m = 20;
    p.n = 70;
    p.bias = true;
    p.activation = TW_SWIGLU;
    all.push_back(p);
    p.packed = true;
    all.push_back(p);
  }
  return all;
}

/// The bytes of all ranks' results of all problems, run in an environment.
std::vector<std::string> results_of(int n, const char* variable, const char* value) {
  const ScopedEnv env(variable, value);
  const ThreadRanks ranks(n);
  std::vector<std::string> all;
  for (const GemmEntry entry : kGemmEntries)
    for (const GemmProblem& problem : problems_of(entry)) {
      const size_t first = all.size();
      all.resize(first + static_cast<size_t>(n));
      ranks.run([&](int rank, tw_comm_t comm) {
        GemmOperands operands(problem, rank, n);
        if (problem.packed) {
          ASSERT_EQ(operands.pack(comm), TW_OK) << tw_last_error();
        }
        const tw_gemm_args_t args = operands.args();
        ASSERT_EQ(call_gemm(entry, &args, comm, nullptr), TW_OK) << tw_last_error();
        all[first + static_cast<size_t>(rank)] = operands.bytes();
      });
    }
  return all;
}

class Values : public testing::TestWithParam<int> {};

TEST_P(Values, OfEveryOp) {
  for (const char* path : {"one_shot", "via_owner"}) {
    const ScopedEnv env("TW_FUSED_PATH", path);
    const ThreadRanks ranks(GetParam());
    for (const GemmEntry entry : kGemmEntries)
      for (const GemmProblem& problem : problems_of(entry)) run_problem(ranks, problem, 3);
  }
}

TEST_P(Values, ByTheirParts) {
  const ScopedEnv env("TW_FUSED", "never");
  const ThreadRanks ranks(GetParam());
  for (const GemmEntry entry : kGemmEntries)
    for (const GemmProblem& problem : problems_of(entry)) run_problem(ranks, problem, 2);
}

/// Activations make bits that no reference has: every way must have the same.
TEST_P(Values, SameBitsByEveryWay) {
  const std::vector<std::string> fused = results_of(GetParam(), "TW_FUSED", "always");
  EXPECT_EQ(fused, results_of(GetParam(), "TW_FUSED", "never"));
  EXPECT_EQ(fused, results_of(GetParam(), "TW_FUSED_PATH", "one_shot"));
  EXPECT_EQ(fused, results_of(GetParam(), "TW_FUSED_PATH", "via_owner"));
}

INSTANTIATE_TEST_SUITE_P(Ranks, Values, testing::Values(1, 2, 3, 5));

}  // namespace
}  // namespace tw::test
