// The op types of every program and the argument struct of row ops, shared by host and kernels.
// Products, and sums followed by a norm: tilewire/kernels/program.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tilewire/kernels/program.h"

namespace tw {

/// In the order of their kinds: <name>Op of tile/program_ops.h. A kernel of the user's own has its
/// ops after them (ProgramOpsAnd). Another list is another layout version (kCommLayoutVersion).
#define TW_PROGRAM_OPS(X) \
  X(Gemm)                 \
  X(ReduceNorm)           \
  X(Rows)

#define TW_PROGRAM_KIND(name) k##name,
enum class ProgramKind : uint32_t { TW_PROGRAM_OPS(TW_PROGRAM_KIND) kOwn };
#undef TW_PROGRAM_KIND

/// A matrix that ranks have at addresses of their own, as this device maps them.
struct RankMatrix {
  char* at[kMaxFusedRanks];
  size_t stride;  // elements
  tw_type_t type;

  constexpr TilePlace place(int rank, size_t row) const {
    const size_t element = type == TW_FP32 ? 4 : 2;
    return {at[rank] + row * stride * element, stride, type};
  }
};

/// at = {first row, rows, ranks}. For these rows, what is left out being nothing:
///   r = x, or the sum over senders, in rank order, of their partial sums, rounded to their type
///   r += bias; r = activation(r) * times; r += residual         (Epilogue, row by row)
///   to = r rounded to its type, at these ranks
///   y  = that / sqrt(mean of squares + eps) * weight, rounded to y's type, at these ranks
/// A row of x goes to the row of the same number in `to` and `y`. A matrix without an address (of
/// this rank) is left out.
struct ProgramRows {
  LiveRows live;
  size_t n;
  PartialSums sums;  // without senders: x
  Matrix x;
  Epilogue epilogue;
  Matrix times;
  RankMatrix to;
  const void* weight;  // [n] of `weight_type`, or null: no y
  tw_type_t weight_type;
  float eps;
  RankMatrix y;
};
static_assert(std::is_trivially_copyable_v<ProgramRows>);

}  // namespace tw
