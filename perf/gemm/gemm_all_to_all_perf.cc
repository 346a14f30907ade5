// GEMM + all-to-all: each rank multiplies its rows, and gets its columns of all ranks' rows.
#include "perf/gemm/gemm_op.h"

namespace tw::perf {
namespace {

class GemmAllToAll final : public GemmOp {
 public:
  const char* name() const override { return "gemm_all_to_all"; }
  std::optional<tw_fused_op_t> fused() const override { return TW_GEMM_ALL_TO_ALL; }

  Extent a(const Problem& p) const override { return {p.rows_of(p.rank), p.k}; }
  Extent c(const Problem& p) const override { return {p.m, columns(p).rows_of(p.rank)}; }
  Product product(const Problem& p) const override {
    return {p.rows_of(p.rank), p.n, p.k, static_cast<size_t>(p.ranks)};
  }

  double expected(const Problem& p, const Numbers& numbers, size_t i, size_t j) const override {
    const int owner = p.owner_of(i);
    const size_t column = columns(p).first_row(p.rank) + j;
    return rounded(numbers.product(owner, i - p.first_row(owner), owner, column, p.k));
  }

  void run(Engine& engine, const GemmCall& call) const override { engine.gemm_all_to_all(call); }

 private:
  // Columns are shared as rows are.
  static Problem columns(Problem p) {
    p.m = p.n;
    return p;
  }
};

}  // namespace

const GemmOp& gemm_all_to_all_op() {
  static const GemmAllToAll op;
  return op;
}

}  // namespace tw::perf
