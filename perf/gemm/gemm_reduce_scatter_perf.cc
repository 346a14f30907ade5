// GEMM + reduce-scatter: each rank gets its rows of the sum of the ranks' products.
#include "perf/gemm/gemm_op.h"

namespace tw::perf {
namespace {

class GemmReduceScatter final : public GemmOp {
 public:
  const char* name() const override { return "gemm_reduce_scatter"; }
  std::optional<tw_fused_op_t> fused() const override { return TW_GEMM_REDUCE_SCATTER; }

  Extent a(const Problem& p) const override { return {p.m, p.k}; }
  Extent c(const Problem& p) const override { return {p.rows_of(p.rank), p.n}; }

  double expected(const Problem& p, const Numbers& numbers, size_t i, size_t j) const override {
    return sum_of_products(p, numbers, p.first_row(p.rank) + i, j);
  }

  void run(Engine& engine, const GemmCall& call) const override {
    engine.gemm_reduce_scatter(call);
  }
};

}  // namespace

const GemmOp& gemm_reduce_scatter_op() {
  static const GemmReduceScatter op;
  return op;
}

}  // namespace tw::perf
