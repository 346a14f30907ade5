// The case table of GEMM and the fused ops: what a call takes and what it must give, worked out by
// a reference that knows nothing of tiles. Every rank can work out every other's part.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/runner/values.h"
#include "tilewire.h"
#include "tilewire/tile/matrix.h"

namespace tw::test {

enum class GemmOp {
  kGemm,
  kAllGatherGemm,
  kGemmReduceScatter,
  kGemmAllReduce,
  kGemmAllToAll,
  kAllReduceNorm,
  kRowEpilogue,  // a kernel only: the end of a call that is carried out by its parts
};
inline constexpr int kGemmKernels = 7;
/// Those of the C API.
inline constexpr GemmOp kGemmOps[] = {
    GemmOp::kGemm,          GemmOp::kAllGatherGemm, GemmOp::kGemmReduceScatter,
    GemmOp::kGemmAllReduce, GemmOp::kGemmAllToAll,  GemmOp::kAllReduceNorm};
const char* name_of(GemmOp op);
/// Ops of one rank.
constexpr bool is_local(GemmOp op) { return op == GemmOp::kGemm || op == GemmOp::kRowEpilogue; }
/// Ops whose `a` is the addend, m x n.
constexpr bool takes_addend(GemmOp op) {
  return op == GemmOp::kAllReduceNorm || op == GemmOp::kRowEpilogue;
}

/// Whether the op adds the products of all ranks; whether it ends in a norm in any case.
constexpr bool sums_ranks(GemmOp op) {
  return op == GemmOp::kGemmReduceScatter || op == GemmOp::kGemmAllReduce ||
         op == GemmOp::kAllReduceNorm;
}

/// How rows (and, for gemm_all_to_all, columns) are dealt out to ranks.
enum class Shards {
  kEqual,   // as equal as they can be
  kUneven,  // some have none
  kLast,    // the last rank has all
};

/// Where results go.
enum class Placing { kPrivate, kWindow, kMixed /* windows on even ranks */ };

struct GemmCase {
  GemmOp op = GemmOp::kGemm;
  size_t m = 0, n = 0, k = 0;  // m, n: of the whole result; k: of each rank's product
  tw_type_t type = TW_BF16, out = TW_BF16, partial = TW_BF16;
  bool a_transposed = false, b_transposed = false, b_packed = false;
  bool strided = false;  // gaps between rows; nothing aligned to more than an element
  bool bias = false, residual = false, norm = false, hidden = false, gathered = false;
  Activation activation = Activation::kNone;
  Shards shards = Shards::kEqual;
  Placing placing = Placing::kPrivate;
  bool random = false;   // else whole numbers / 8, whose sums are exact
  double tolerance = 0;  // of C, relative to max(1, |C|); 0: the bits must be equal

  size_t b_cols() const { return activation == Activation::kSwiGlu ? 2 * n : n; }
  /// C = x, where there is no norm; the bits of x are known when its parts are exact.
  bool exact() const { return !random && activation == Activation::kNone; }
  std::string name(int ranks) const;
};

/// The tolerance that a case's types, epilogue and data ask for.
double tolerance_of(const GemmCase& c);

/// Numbers of a matrix, row by row.
struct Values {
  size_t rows = 0, cols = 0;
  std::vector<float> data;
  float at(size_t i, size_t j) const { return data[i * cols + j]; }
  bool empty() const { return data.empty(); }
};

/// What one rank passes and gets. Empty: not used. All inputs are numbers of their type.
struct GemmPart {
  Values a, b;            // all_reduce_residual_rms_norm: `a` is the addend
  Values bias, residual;  // bias, weight: one row
  Values weight;
  Values c, hidden;  // expected, not rounded where the case is not exact
  Values gathered;   // the whole A
};

inline constexpr float kNormEps = 1e-5f;

/// A case worked out for `ranks` ranks.
struct GemmWork {
  GemmWork(const GemmCase& c, int ranks, uint64_t seed);
  GemmCase c;
  int ranks;
  std::vector<size_t> rows, cols;  // of each rank
  std::vector<GemmPart> parts;

 private:
  void fill(uint64_t seed);
  Values sums(size_t rank) const;
  void finish(const Values& sum, GemmPart& part) const;
  bool same_everywhere() const {
    return c.op == GemmOp::kGemmAllReduce || c.op == GemmOp::kAllReduceNorm;
  }
};

/// Equal or uneven parts of `size` for `ranks` ranks.
std::vector<size_t> shards_of(Shards shards, size_t size, int ranks);

/// The cases of one op: ragged sizes, types, layouts, epilogues, shards, placings.
std::vector<GemmCase> gemm_cases(GemmOp op);
/// Fewer and smaller, each thing once: for sanitizers, processes and many ranks.
std::vector<GemmCase> few_gemm_cases(GemmOp op);
/// Some whose operands GPUs' loaders fetch by boxes (tile/matrix.h): K is contiguous and aligned.
std::vector<GemmCase> boxed_gemm_cases(GemmOp op);
/// The ones that this build runs: few under a sanitizer.
std::vector<GemmCase> gemm_cases_here(GemmOp op);

}  // namespace tw::test
