// A block of ops by tw_program_*, and the same by calls and by plain loops: what
// tests/user_program_test.cc compares.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tilewire.h"

namespace tw::test {

/// How a rank's tensors lie.
enum class Places { kLocal, kWindow, kProgram, kMixed };

struct BlockCase {
  uint32_t rows;
  size_t hidden, ffn;  // ffn: of all ranks
  tw_type_t stream;    // of the residual stream
  tw_type_t type;      // of factors
  Places places;
};
std::string name_of(const BlockCase& c);

/// One rank's part.
///   y     = norm(x)                                    gated = swiglu(y GateUp + bias)
///   h, z  = sum over ranks of gated Down + bias + x, and its norm
///   q     = gelu(z Out) + h                            h2    = sum over ranks of gated Down2
///   s     = silu(q) * h2                               t     = s + x
///   all   = t of every rank, one below the other
class ProgramBlockRank {
 public:
  ProgramBlockRank(tw_comm_t comm, const BlockCase& c);
  ~ProgramBlockRank();
  ProgramBlockRank(const ProgramBlockRank&) = delete;
  ProgramBlockRank& operator=(const ProgramBlockRank&) = delete;

  tw_program_t program() const { return program_; }
  /// New values of x, by `seed`, the same on all ranks; poisons everything else.
  void fill(uint32_t seed);
  /// What a launch of `rows` rows left, as bytes, row by row: h, z, q, h2, s, t, all.
  std::vector<char> results(uint32_t rows) const;
  /// The largest distance of any result from plain loops over what it was made of on `ranks`, in
  /// units of the tolerance of its type. `what` names it.
  double furthest(const std::vector<const ProgramBlockRank*>& ranks, uint32_t rows,
                  std::string* what) const;
  /// Of gated, h, z, q, h2: those that tw_gemm and tw_gemm_all_reduce give other bits. Collective.
  std::string other_bits(uint32_t rows) const;

 private:
  enum Tensor { kX, kY, kGated, kH, kZ, kQ, kH2, kS, kT, kAll, kTensors };
  struct Weights {
    std::vector<double> values;  // k x n, as they were rounded
    std::vector<char> plain;
    void* packed = nullptr;
    size_t k = 0, n = 0;
  };

  void add_tensors();
  void add_ops();
  Weights weights(size_t k, size_t n, uint32_t seed, size_t first_row, size_t first_col,
                  size_t whole_cols, bool paired);
  std::vector<char> vector_of(size_t n, tw_type_t type, uint32_t seed, double middle) const;
  tw_type_t type_of(int tensor) const;
  size_t cols_of(int tensor) const;
  char* row(int tensor, size_t i) const;
  double at(int tensor, size_t i, size_t j) const;
  double sum(int tensor, size_t i, const Weights& w, size_t j) const;
  void set(int tensor, size_t i, size_t j, double value);
  tw_gemm_args_t call_of(int a, const Weights& w, int c, uint32_t rows) const;
  bool same(int tensor, const std::vector<char>& result, uint32_t rows) const;

  const tw_comm_t comm_;
  const BlockCase case_;
  int rank_ = 0, size_ = 0;
  size_t first_ = 0, own_ = 0;  // columns of ffn
  tw_program_t program_ = nullptr;
  tw_window_t window_ = nullptr;
  std::vector<std::vector<char>> local_;
  int numbers_[kTensors] = {};
  Weights gate_up_, down_, out_, down2_;
  std::vector<char> norm_weight_, norm_weight2_, bias_, bias2_;
};

}  // namespace tw::test
