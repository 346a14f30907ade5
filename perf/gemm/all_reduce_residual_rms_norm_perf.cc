// All-reduce + residual + RMSNorm, for engines that bring their own product: A is a rank's addend.
#include <cmath>

#include "perf/gemm/gemm_op.h"

namespace tw::perf {
namespace {

class AllReduceResidualRmsNorm final : public GemmOp {
 public:
  const char* name() const override { return "all_reduce_residual_rms_norm"; }
  std::optional<tw_fused_op_t> fused() const override { return TW_ALL_REDUCE_RESIDUAL_RMS_NORM; }

  Extent a(const Problem& p) const override { return {p.m, p.n}; }
  Extent c(const Problem& p) const override { return {p.m, p.n}; }
  Product product(const Problem&) const override { return {}; }
  bool multiplies() const override { return false; }

  // Residual and norm weights hold the weights' pattern: rank 0's, rows 0 to m - 1 and row 0.
  double expected(const Problem& p, const Numbers& numbers, size_t i, size_t j) const override {
    double squares = 0;
    for (size_t column = 0; column < p.n; ++column) {
      const double x = hidden(p, numbers, i, column);
      squares += x * x;
    }
    const double scale = 1 / std::sqrt(squares / static_cast<double>(p.n) + 1e-5);
    return hidden(p, numbers, i, j) * scale * Numbers::weight(0, 0, j);
  }
  double tolerance() const override { return 0x1p-7; }

  void run(Engine& engine, const GemmCall& call) const override {
    engine.all_reduce_residual_rms_norm(call);
  }

 private:
  static double hidden(const Problem& p, const Numbers& numbers, size_t i, size_t j) {
    double sum = 0;
    for (int r = 0; r < p.ranks; ++r) sum += numbers.a(r, i, j);
    return rounded(rounded(sum) + Numbers::weight(0, i, j));
  }
};

}  // namespace

const GemmOp& all_reduce_residual_rms_norm_op() {
  static const AllReduceResidualRmsNorm op;
  return op;
}

}  // namespace tw::perf
