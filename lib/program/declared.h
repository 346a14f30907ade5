// A program as the ranks declare it: tensors, ops, and instructions of the user's own. Each rank
// declares its own part; when the program is built they tell each other, so that every rank can
// write down the instructions of all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "lib/comm/comm.h"
#include "tilewire/kernels/program_ops.h"

namespace tw {

inline constexpr int kNoTensor = -1;
inline constexpr size_t kMostName = 31;

enum class TensorPlace : uint32_t {
  kProgram,  // the program's memory, which peers reach
  kWindow,   // a window of the user's
  kLocal,    // memory of the rank's own
};

/// What a rank tells of a tensor. Plain data.
struct TensorTerms {
  char name[kMostName + 1];
  tw_type_t type;
  TensorPlace place;
  uint32_t rows;
  uint32_t moves;     // 1: rows of the launch, up to `rows`
  uint64_t location;  // of a window's memory: equal on all ranks
  uint64_t stride;    // 0: columns of the rank with most (kProgram), or not told (kLocal)
  uint64_t cols;      // this rank's; ranks may differ
};

struct DeclaredTensor {
  TensorTerms terms;
  size_t stride;          // at this rank; kProgram: known when built
  std::vector<char*> at;  // by rank, where it is mapped here; kLocal: the own one only

  size_t bytes() const {
    const size_t rows = terms.rows, element = packed_element(terms.type);
    return rows == 0 || terms.cols == 0 ? 0 : ((rows - 1) * stride + terms.cols) * element;
  }
};

enum class DeclaredKind : uint32_t { kGemm, kGemmAllReduce, kRmsNorm, kSwiGlu, kAdd, kCopy, kOwn };
const char* declared_name(DeclaredKind kind);

/// What a rank tells of an op. Plain data; all but the last three are equal on all ranks.
struct OpTerms {
  char name[kMostName + 1];
  DeclaredKind kind;
  int32_t a, b, c, y;  // tensors: first factor, x; residual, second x; result; normed result
  Activation activation;
  uint32_t options;        // bit 0: bias, bit 1: norm weight
  tw_type_t partial_type;  // kGemmAllReduce
  float eps;
  uint32_t own_op;      // kOwn: place among the kernel's own ops
  uint64_t args_bytes;  // kOwn
  int32_t to_rank;      // kCopy: -1: all
  uint64_t to_row, to_col;
};

struct DeclaredOp {
  OpTerms terms;
  const void* weights = nullptr;  // packed
  const void* bias = nullptr;
  const void* norm_weight = nullptr;
  std::vector<char> args;  // kOwn
};

/// Plain data, of the user's own op `op`: what it accesses is accesses[first ...].
struct DeclaredInstruction {
  int32_t op;
  uint32_t at[4];
  uint32_t first, count;
};
struct DeclaredAccess {
  int32_t tensor, rank;
  uint32_t writes;
  uint32_t row, rows;
  uint64_t col, cols;
};

/// One rank's part.
struct Declaration {
  uint32_t rows = 0;  // the most of a launch
  std::vector<DeclaredTensor> tensors;
  std::vector<DeclaredOp> ops;
  std::vector<DeclaredInstruction> instructions;
  std::vector<DeclaredAccess> accesses;
};

/// What a rank has told.
struct Terms {
  uint32_t rows = 0;
  int32_t blocks = 0;
  uint32_t traced = 0;
  CpuTarget target{};
  std::vector<TensorTerms> tensors;
  std::vector<OpTerms> ops;
  std::vector<DeclaredInstruction> instructions;
  std::vector<DeclaredAccess> accesses;

  /// The columns of a tensor on this rank.
  size_t cols(int tensor) const { return tensors[static_cast<size_t>(tensor)].cols; }
};

/// Collective: what all ranks declare, checked: the same everywhere. Throws MISMATCH, which shows
/// what two ranks have, and INVALID_ARGUMENT for what does not fit together, on all ranks alike.
std::vector<Terms> agree(Comm& comm, const Declaration& mine, bool traced);

}  // namespace tw
