// All-gather + GEMM: every rank multiplies all ranks' rows by its own weights.
#include "perf/gemm/gemm_op.h"

namespace tw::perf {
namespace {

class AllGatherGemm final : public GemmOp {
 public:
  const char* name() const override { return "all_gather_gemm"; }
  std::optional<tw_fused_op_t> fused() const override { return TW_ALL_GATHER_GEMM; }

  Extent a(const Problem& p) const override { return {p.rows_of(p.rank), p.k}; }
  Extent c(const Problem& p) const override { return {p.m, p.n}; }
  Product product(const Problem& p) const override { return {p.m, p.n, p.k, 1}; }

  double expected(const Problem& p, const Numbers& numbers, size_t i, size_t j) const override {
    const int owner = p.owner_of(i);
    return rounded(numbers.product(owner, i - p.first_row(owner), p.rank, j, p.k));
  }

  void run(Engine& engine, const GemmCall& call) const override { engine.all_gather_gemm(call); }
};

}  // namespace

const GemmOp& all_gather_gemm_op() {
  static const AllGatherGemm op;
  return op;
}

}  // namespace tw::perf
