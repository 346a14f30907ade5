// GEMM + all-to-all: each rank multiplies its rows, and gets its columns of all ranks' rows.
#include "perf/gemm/gemm_op.h"

namespace tw::perf {
namespace {

class GemmAllToAll final : public GemmOp {
 public:
  const char* name() const override { return "gemm_all_to_all"; }
  std::optional<tw_fused_op_t> fused() const override { return TW_GEMM_ALL_TO_ALL; }

  Extent a(const Problem& p) const override { return {p.rows_of(p.rank), p.k}; }
  Extent c(const Problem& p) const override { return {p.m, p.n / ranks(p)}; }
  Product product(const Problem& p) const override {
    return {p.rows_of(p.rank), p.n, p.k, ranks(p)};
  }

  double expected(const Problem& p, const Numbers& numbers, size_t i, size_t j) const override {
    const int owner = p.owner_of(i);
    const size_t column = c(p).columns * static_cast<size_t>(p.rank) + j;
    return rounded(numbers.product(owner, i - p.first_row(owner), owner, column, p.k));
  }

  void run(Engine& engine, const GemmCall& call) const override { engine.gemm_all_to_all(call); }

 private:
  static size_t ranks(const Problem& p) { return static_cast<size_t>(p.ranks); }
};

}  // namespace

const GemmOp& gemm_all_to_all_op() {
  static const GemmAllToAll op;
  return op;
}

}  // namespace tw::perf
