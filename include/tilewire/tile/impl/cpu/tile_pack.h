// Operands in the order in which CPUs multiply. B: panels (tile/packed.h). A: steps of
// kCpuTile.k elements of K, in each all rows, one after the other, padded with zeros to groups of
// 32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/matrix.h"
#include "tilewire/tile/packed.h"
#include "tilewire/tile/types.h"

namespace TW_NS {

/// One group of a panel: 32 k x 32 columns of which `ks` x `cols` exist, from element (0, 0) at
/// `from`, steps apart in k and in columns.
template <class T, bool pairs>
TW_FN void pack_group(T* to, const T* from, size_t k_step, size_t col_step, size_t ks,
                      size_t cols) {
  if (ks < kPackedK || cols < kPanelCols)
    for (size_t i = 0; i < kPackedK * kPanelCols; ++i) to[i] = 0;
  for (size_t k = 0; k < ks; ++k)
    for (size_t j = 0; j < cols; ++j)
      to[panel_place(k, j, pairs ? TW_BF16 : TW_FP32)] = from[k * k_step + j * col_step];
}

template <class T, bool pairs>
TW_FN void pack_panel(T* to, const T* from, MatrixLayout layout, size_t stride, size_t ks,
                      size_t cols) {
  for (size_t k = 0; k < ks; k += kPackedK) {
    const size_t part = ks - k < kPackedK ? ks - k : kPackedK;
    if (layout == MatrixLayout::kRows)
      pack_group<T, pairs>(to, from + k * stride, stride, 1, part, cols);
    else
      pack_group<T, pairs>(to, from + k, 1, stride, part, cols);
    to += kPackedK * kPanelCols;
  }
}

/// `ks` x `cols` (at most 32) elements of a plain B, from element (row, col), as a panel, or as a
/// part of one that begins at a multiple of 32 in K.
TW_FN void pack_right(void* to, const Operand& b, size_t row, size_t col, size_t ks, size_t cols) {
  const size_t at = b.layout == MatrixLayout::kRows ? row * b.stride + col : col * b.stride + row;
  const char* const from = static_cast<const char*>(b.data) + at * packed_element(b.type);
  if (b.type == TW_FP32)
    return pack_panel<uint32_t, false>(static_cast<uint32_t*>(to),
                                       reinterpret_cast<const uint32_t*>(from), b.layout, b.stride,
                                       ks, cols);
  const auto* const halves = reinterpret_cast<const uint16_t*>(from);
  if (b.type == TW_BF16)
    return pack_panel<uint16_t, true>(static_cast<uint16_t*>(to), halves, b.layout, b.stride, ks,
                                      cols);
  pack_panel<uint16_t, false>(static_cast<uint16_t*>(to), halves, b.layout, b.stride, ks, cols);
}

}  // namespace TW_NS
