// GEMM + all-reduce: each rank gets all rows of the sum of the ranks' products.
#include "perf/gemm/gemm_op.h"

namespace tw::perf {
namespace {

class GemmAllReduce final : public GemmOp {
 public:
  const char* name() const override { return "gemm_all_reduce"; }
  std::optional<tw_fused_op_t> fused() const override { return TW_GEMM_ALL_REDUCE; }

  Extent a(const Problem& p) const override { return {p.m, p.k}; }
  Extent c(const Problem& p) const override { return {p.m, p.n}; }

  double expected(const Problem& p, const Numbers& numbers, size_t i, size_t j) const override {
    return sum_of_products(p, numbers, i, j);
  }

  void run(Engine& engine, const GemmCall& call) const override { engine.gemm_all_reduce(call); }
};

}  // namespace

const GemmOp& gemm_all_reduce_op() {
  static const GemmAllReduce op;
  return op;
}

}  // namespace tw::perf
