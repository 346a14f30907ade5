// Fused calls that do not match between ranks end, promptly, in an error on every rank.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "tests/runner/gemm_cases.h"
#include "tests/runner/gemm_runner.h"
#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPrompt = std::chrono::seconds(3);

struct Operands {
  std::vector<float> a = std::vector<float>(1 << 16, 1.0F), b = a, c = a, extra = a;
};

/// A call that all ranks could make.
tw_gemm_args_t usual(GemmOp op, Operands& o) {
  tw_gemm_args_t args = TW_GEMM_ARGS_INIT;
  args.m = 40;
  args.n = 48;
  args.type = args.out_type = TW_FP32;
  args.a = o.a.data();
  args.c = o.c.data();
  if (takes_addend(op)) {
    args.norm_weight = o.extra.data();
    return args;
  }
  args.k = 32;
  args.b = o.b.data();
  return args;
}

/// How the last rank's call differs.
struct Difference {
  const char* what;
  std::function<bool(GemmOp)> applies;
  std::function<tw_status_t(GemmOp, tw_gemm_args_t, Operands&, tw_comm_t)> call;
};

bool multiplies(GemmOp op) { return !takes_addend(op); }
bool always(GemmOp /*op*/) { return true; }

template <class Change>
Difference changed(const char* what, bool (*applies)(GemmOp), Change change) {
  return {what, applies, [change](GemmOp op, tw_gemm_args_t args, Operands& o, tw_comm_t comm) {
            change(args, o);
            return call_op(op, args, comm, nullptr);
          }};
}

const Difference kDifferences[] = {
    changed("m", always, [](tw_gemm_args_t& a, Operands& /*o*/) { a.m = 41; }),
    changed("a much larger m", always, [](tw_gemm_args_t& a, Operands& /*o*/) { a.m = 1000; }),
    changed("n", always, [](tw_gemm_args_t& a, Operands& /*o*/) { a.n = 47; }),
    changed("m = 0", always, [](tw_gemm_args_t& a, Operands& /*o*/) { a.m = 0; }),
    changed("out_type", always, [](tw_gemm_args_t& a, Operands& /*o*/) { a.out_type = TW_BF16; }),
    changed("activation", multiplies,
            [](tw_gemm_args_t& a, Operands& /*o*/) { a.activation = TW_SILU; }),
    changed("type", multiplies, [](tw_gemm_args_t& a, Operands& /*o*/) { a.type = TW_FP16; }),
    changed("hidden", takes_addend, [](tw_gemm_args_t& a, Operands& o) { a.hidden = o.b.data(); }),
    {"a collective", always,
     [](GemmOp /*op*/, const tw_gemm_args_t& /*args*/, Operands& o, tw_comm_t comm) {
       return tw_all_reduce(o.a.data(), o.c.data(), 100, TW_FP32, TW_SUM, comm, nullptr);
     }},
    {"a barrier", always,
     [](GemmOp /*op*/, const tw_gemm_args_t& /*args*/, Operands& /*o*/, tw_comm_t comm) {
       return tw_barrier(comm, nullptr);
     }},
    {"another fused op", always,
     [](GemmOp op, tw_gemm_args_t /*args*/, Operands& o, tw_comm_t comm) {
       const GemmOp other =
           op == GemmOp::kGemmAllReduce ? GemmOp::kGemmAllToAll : GemmOp::kGemmAllReduce;
       return call_op(other, usual(other, o), comm, nullptr);
     }},
};

constexpr GemmOp kFusedOps[] = {GemmOp::kAllGatherGemm, GemmOp::kGemmReduceScatter,
                                GemmOp::kGemmAllReduce, GemmOp::kGemmAllToAll,
                                GemmOp::kAllReduceNorm};

class FusedMismatch : public testing::TestWithParam<const char*> {};

/// All ranks but the last make the usual call, after `before` of them that all make.
void expect_mismatch(GemmOp op, const Difference& difference, int n, int before) {
  const std::string what = std::string(name_of(op)) + ", another " + difference.what +
                           ", n = " + std::to_string(n) + ", after " + std::to_string(before);
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.timeout_ms = 20000;
  const ThreadRanks ranks(n, &config);
  const Clock::time_point begin = Clock::now();
  ranks.run([&](int rank, tw_comm_t comm) {
    Operands o;
    const tw_gemm_args_t args = usual(op, o);
    for (int i = 0; i < before; ++i)
      ASSERT_EQ(call_op(op, args, comm, nullptr), TW_OK) << what << ": " << tw_last_error();
    tw_status_t status = TW_OK;
    // Where a rank waits for nobody, its next call tells.
    for (int i = 0; i < 3 && status == TW_OK; ++i)
      status = rank + 1 == n && i == 0 ? difference.call(op, args, o, comm)
                                       : call_op(op, args, comm, nullptr);
    EXPECT_EQ(status, TW_ERROR_MISMATCH) << what << ", rank " << rank << ": " << tw_last_error();
    EXPECT_NE(std::string(tw_last_error()), "") << what;
  });
  EXPECT_LT(Clock::now() - begin, kPrompt) << what;
}

TEST_P(FusedMismatch, EndsInAnErrorOnEveryRank) {
  const ScopedEnv fused("TW_FUSED", GetParam());
  for (const GemmOp op : kFusedOps)
    for (const Difference& difference : kDifferences)
      if (difference.applies(op)) {
        expect_mismatch(op, difference, 2, 1);
        expect_mismatch(op, difference, 3, 0);
      }
}

INSTANTIATE_TEST_SUITE_P(Ways, FusedMismatch, testing::Values("always", "never"));

}  // namespace
}  // namespace tw::test
