#include "perf/gemm/gemm_op.h"

#include <algorithm>
#include <cstring>

namespace tw::perf {

size_t Problem::rows_of(int r) const {
  const auto count = static_cast<size_t>(ranks);
  return m / count + (static_cast<size_t>(r) < m % count);
}

size_t Problem::first_row(int r) const {
  const auto count = static_cast<size_t>(ranks), at = static_cast<size_t>(r);
  return m / count * at + std::min(at, m % count);
}

int Problem::owner_of(size_t row) const {
  int r = 0;
  while (row >= first_row(r) + rows_of(r)) ++r;
  return r;
}

double sum_of_products(const Problem& p, const Numbers& numbers, size_t i, size_t j) {
  double sum = 0;
  for (int r = 0; r < p.ranks; ++r) sum += rounded(numbers.product(r, i, r, j, p.k));
  return rounded(sum);
}

const GemmOp* find_gemm_op(const char* name) {
  const GemmOp* const ops[] = {
#define TW_PERF_GEMM_OP(op) &op##_op(),
#include "perf/gemm/gemm_ops.def"
#undef TW_PERF_GEMM_OP
  };
  for (const GemmOp* op : ops)
    if (std::strcmp(op->name(), name) == 0) return op;
  return nullptr;
}

}  // namespace tw::perf
