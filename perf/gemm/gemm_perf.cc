// GEMM: C = A B on each rank, without communication.
#include "perf/gemm/gemm_op.h"

namespace tw::perf {
namespace {

class Gemm final : public GemmOp {
 public:
  const char* name() const override { return "gemm"; }
  std::optional<tw_fused_op_t> fused() const override { return std::nullopt; }

  Extent a(const Problem& p) const override { return {p.m, p.k}; }
  Extent c(const Problem& p) const override { return {p.m, p.n}; }

  double expected(const Problem& p, const Numbers& numbers, size_t i, size_t j) const override {
    return rounded(numbers.product(p.rank, i, p.rank, j, p.k));
  }

  void run(Engine& engine, const GemmCall& call) const override { engine.gemm(call); }
};

}  // namespace

const GemmOp& gemm_op() {
  static const Gemm op;
  return op;
}

}  // namespace tw::perf
