// One call of the GEMM family on thread ranks: its operands, the call, and what must come out.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "tests/runner/ranks.h"
#include "tilewire.h"

namespace tw::test {

enum class GemmEntry { kGemm, kAllGather, kReduceScatter, kAllReduce, kAllToAll, kNorm };
constexpr GemmEntry kGemmEntries[] = {GemmEntry::kGemm,          GemmEntry::kAllGather,
                                      GemmEntry::kReduceScatter, GemmEntry::kAllReduce,
                                      GemmEntry::kAllToAll,      GemmEntry::kNorm};
const char* name_of(GemmEntry entry);
tw_status_t call_gemm(GemmEntry entry, const tw_gemm_args_t* args, tw_comm_t comm,
                      tw_stream_t stream);

/// Sizes and options; every rank has operands of its own, small integers over 8 that follow from
/// (rank, place), so that sums are exact.
struct GemmProblem {
  GemmEntry entry = GemmEntry::kAllReduce;
  size_t m = 5, n = 40, k = 24;
  tw_type_t type = TW_BF16, out_type = TW_FP32;
  bool a_transposed = false, b_transposed = false, packed = false;
  bool bias = false, residual = false, hidden = false, norm = false, gathered = false;
  bool in_place = false;  // residual == c
  tw_activation_t activation = TW_ACTIVATION_NONE;
  tw_type_t partial_type = static_cast<tw_type_t>(0);
  size_t gap = 0;  // elements between rows beyond what a row has
  std::vector<size_t> rows, cols;
  int max_blocks = 0;
};

/// One rank's memory of a problem, and the argument struct over it.
class GemmOperands {
 public:
  GemmOperands(const GemmProblem& problem, int rank, int ranks);

  /// Lets C and hidden (null: as before) lie in memory of the caller's, result_bytes() each.
  void place_results(void* c, void* hidden);
  size_t result_bytes() const { return c_rows_ * c_stride() * element(out_); }

  tw_gemm_args_t args() const;
  /// Packs B for `args`.
  tw_status_t pack(tw_comm_t comm);

  /// "" when C, hidden and gathered have the values that they must have, else what differs.
  std::string check() const;

  /// The bytes of all results, for comparisons.
  std::string bytes() const;
  /// Sets results to a pattern that no call leaves.
  void poison();

  static size_t element(tw_type_t type) { return type == TW_FP32 ? 4 : 2; }

 private:
  size_t b_cols() const { return problem_.activation == TW_SWIGLU ? 2 * problem_.n : problem_.n; }
  size_t c_stride() const { return c_cols_ + problem_.gap; }
  std::vector<float> products(int a_rank, int b_rank, size_t first, size_t rows) const;
  std::vector<float> sums() const;
  std::vector<float> expected() const;
  std::string check_gathered() const;
  std::string text(const char* what, size_t i, size_t j, double got, double want) const;

  const GemmProblem problem_;
  const int rank_, ranks_;
  const tw_type_t out_;
  std::vector<size_t> rows_, cols_;
  size_t first_row_ = 0, first_col_ = 0, a_rows_, c_rows_, c_cols_;
  std::vector<char> a_, b_, c_, hidden_, residual_, gathered_, bias_, weight_;
  std::vector<char> packed_;
  char* c_at_;
  char* hidden_at_;
  mutable std::vector<float> expected_;  // x, once it has been asked for
};

}  // namespace tw::test
