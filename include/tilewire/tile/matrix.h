// Matrices as tile programs see them: plain data, made by the host or by a kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tilewire.h"

namespace tw {

enum class MatrixLayout : uint32_t {
  kRows,    // element (i, j) at data[i * stride + j]
  kCols,    // element (i, j) at data[j * stride + i]: a transposed operand
  kPacked,  // B only: what tw_pack_weights wrote, in the layout of the device (tile/packed.h)
};

/// Where in a kernel's source an op stands: default arguments of the ops that talk to other blocks.
/// Tests enumerate these places and leave them out in turn; nothing else uses them.
struct At {
  const char* file;
  int line;
  static constexpr At here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

/// When something may be read: when *word >= value (acquire, system scope). `word` null: always.
struct Ready {
  const uint64_t* word = nullptr;
  uint64_t value = 0;
  int peer = 0;        // who raises it, for messages
  uint64_t index = 0;  // slot, for messages
  At at = {nullptr, 0};
};

/// A place in an operand: element (row, col), and when it may be read.
struct OperandAt {
  const struct Operand* of;
  size_t row, col;
  Ready ready;
  constexpr OperandAt after(Ready when) const { return {of, row, col, when}; }
};

/// A tensor map of an operand has two dimensions, K inside, and only the sizes that exist; boxes of
/// 128 bytes of K and of this many lines (rows of A, columns of B); 128-byte swizzle; zeros
/// outside. So it needs K contiguous (A kRows, B kCols), address and stride multiples of 16 bytes;
/// operands without one are copied by elements.
inline constexpr int kTensorMapLines = 64;

/// A factor of a product: `rows` x `cols` elements of TW_BF16, TW_FP16 or TW_FP32.
struct Operand {
  const void* data;
  size_t stride;  // elements
  size_t rows, cols;
  tw_type_t type;
  MatrixLayout layout;
  const void* tensor_map;  // GPUs: a CUtensorMap in device memory, or null (kTensorMapLines)

  constexpr OperandAt at(size_t row, size_t col) const { return {this, row, col, {}}; }
};
static_assert(std::is_trivially_copyable_v<Operand>);

/// Where a tile of results lies: element (0, 0) at `data`, rows `stride` elements apart. Null data:
/// nowhere, and nothing is stored.
struct TilePlace {
  char* data;
  size_t stride;
  tw_type_t type;
};

/// A matrix of results, row by row. Null data: there is none.
struct Matrix {
  void* data;
  size_t stride;  // elements
  tw_type_t type;

  constexpr size_t element() const { return type == TW_FP32 ? 4 : 2; }
  constexpr TilePlace at(size_t row, size_t col) const {
    if (data == nullptr) return {nullptr, stride, type};
    return {static_cast<char*>(data) + (row * stride + col) * element(), stride, type};
  }
};

/// What is done to a sum x of column j before it is stored, in fp32, in this order:
///   x += bias[j]; activation; x += residual(i, j); round to the type of the destination.
/// SwiGLU takes the two sums g, u of a paired tile and gives silu(g + bias[j]) * (u + bias[pair +
/// j]).
enum class Activation : uint32_t { kNone, kGelu, kGeluTanh, kSilu, kSwiGlu };

struct Epilogue {
  const void* bias;  // [n], or null
  tw_type_t type;    // of bias and residual
  Activation activation;
  Matrix residual;   // null data: none
  size_t first_row;  // the row of the result at which `residual` begins
  constexpr bool empty() const {
    return bias == nullptr && activation == Activation::kNone && residual.data == nullptr;
  }
};
static_assert(std::is_trivially_copyable_v<Epilogue>);

}  // namespace tw
