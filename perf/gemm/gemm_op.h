// What a benchmark needs to know about a GEMM fused with communication, apart from who carries it
// out: matrix sizes, where each element of the result comes from, and the call. One subclass per
// <op>_perf.cc; it drives tilewire and every peer (see engine.h).
#pragma once

#include <optional>

#include "perf/gemm/engine.h"
#include "perf/gemm/numbers.h"

namespace tw::perf {

struct Extent {
  size_t rows = 0, columns = 0;
  size_t elements() const { return rows * columns; }
};

// Who asks, and for what: m rows in all, n columns and a K of this rank.
struct Problem {
  int rank = 0, ranks = 1;
  size_t m = 0, n = 0, k = 0;

  // Rows of each rank where rows are sharded, as equal as they can be; the first ranks have one
  // more. And the first of them.
  size_t rows_of(int r) const;
  size_t first_row(int r) const;
  int owner_of(size_t row) const;
};

class GemmOp {
 public:
  GemmOp() = default;
  GemmOp(const GemmOp&) = delete;
  GemmOp& operator=(const GemmOp&) = delete;
  virtual ~GemmOp() = default;

  virtual const char* name() const = 0;
  virtual Extent a(const Problem& p) const = 0;
  virtual Extent c(const Problem& p) const = 0;
  virtual Product product(const Problem& p) const { return {a(p).rows, p.n, p.k, 1}; }
  virtual bool multiplies() const { return true; }
  // What tw_fused_workspace calls it; an op that does not communicate has no such name.
  virtual std::optional<tw_fused_op_t> fused() const = 0;

  // Element (i, j) of this rank's result, as a bf16, from these inputs.
  virtual double expected(const Problem& p, const Numbers& numbers, size_t i, size_t j) const = 0;
  // How far a right result may be from it, as a share of it.
  virtual double tolerance() const { return 0; }

  virtual void run(Engine& engine, const GemmCall& call) const = 0;
};

// The sum over ranks of their products' element (i, j), each rounded, as ranks exchange them.
double sum_of_products(const Problem& p, const Numbers& numbers, size_t i, size_t j);

#define TW_PERF_GEMM_OP(op) const GemmOp& op##_op();
#include "perf/gemm/gemm_ops.def"
#undef TW_PERF_GEMM_OP

// The op called `name`, or nullptr.
const GemmOp* find_gemm_op(const char* name);

}  // namespace tw::perf
