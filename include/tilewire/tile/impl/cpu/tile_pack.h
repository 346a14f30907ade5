// Operands in the order in which CPUs multiply. B: panels (tile/packed.h). A: steps of
// kCpuTile.k elements of K, in each all rows, one after the other, padded with zeros to groups of
// 32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tilewire/tile/impl/cpu/vector.h"
#include "tilewire/tile/matrix.h"
#include "tilewire/tile/packed.h"
#include "tilewire/tile/types.h"

namespace TW_NS {

/// Elements of a group (32 k x 32 columns) of a panel.
inline constexpr size_t kGroup = kPackedK * kPanelCols;

/// Any group, of which `ks` x `cols` elements exist, element (k, j) at from[k * k_step + j *
/// col_step].
template <class T, bool pairs>
TW_FN void pack_ragged_group(T* to, const T* from, size_t k_step, size_t col_step, size_t ks,
                             size_t cols) {
  for (size_t i = 0; i < kGroup; ++i) to[i] = 0;
  for (size_t k = 0; k < ks; ++k)
    for (size_t j = 0; j < cols; ++j)
      to[panel_place(k, j, pairs ? TW_BF16 : TW_FP32)] = from[k * k_step + j * col_step];
}

/// A whole group of a B that lies row by row.
template <class T, bool pairs>
TW_FN void pack_rows_group(T* to, const T* from, size_t stride) {
  constexpr size_t kTile = kPackedK * kPanelTileCols, kRow = kPanelTileCols;
  using Part = VecOf<uint16_t, 16>::type;
  for (size_t k = 0; k < kPackedK; k += 2)
    for (size_t j = 0; j < kPanelCols; j += 8) {
      const T* const above = from + k * stride + j;
      const T* const below = above + stride;
      T* const at = to + j / kRow * kTile + k * kRow;
      if constexpr (pairs) {
        const Part x = load_vector<Part>(above), y = load_vector<Part>(below);
        store_vector(at + j % kRow * 2, __builtin_shufflevector(x, y, 0, 8, 1, 9, 2, 10, 3, 11));
        store_vector(at + j % kRow * 2 + 8,
                     __builtin_shufflevector(x, y, 4, 12, 5, 13, 6, 14, 7, 15));
      } else {
        __builtin_memcpy(at + j % kRow, above, 8 * sizeof(T));
        __builtin_memcpy(at + kRow + j % kRow, below, 8 * sizeof(T));
      }
    }
}

/// A whole group of a B that lies column by column, of pairs of k or fp32 elements: words.
TW_FN void pack_cols_words(char* to, const char* from, size_t column_bytes, size_t words) {
  for (size_t j = 0; j < kPanelCols; j += 4) {
    char* const at = to + (j / kPanelTileCols * words * kPanelTileCols + j % kPanelTileCols) * 4;
    for (size_t k = 0; k < words; k += 4) {
      using Part = VecOf<uint32_t, 16>::type;
      Part in[4];
      for (size_t i = 0; i < 4; ++i)
        in[i] = load_vector<Part>(from + (j + i) * column_bytes + k * 4);
      const Part a = __builtin_shufflevector(in[0], in[1], 0, 4, 1, 5);
      const Part b = __builtin_shufflevector(in[2], in[3], 0, 4, 1, 5);
      const Part c = __builtin_shufflevector(in[0], in[1], 2, 6, 3, 7);
      const Part d = __builtin_shufflevector(in[2], in[3], 2, 6, 3, 7);
      char* const line = at + k * kPanelTileCols * 4;
      store_vector(line, __builtin_shufflevector(a, b, 0, 1, 4, 5));
      store_vector(line + kPanelTileCols * 4, __builtin_shufflevector(a, b, 2, 3, 6, 7));
      store_vector(line + kPanelTileCols * 8, __builtin_shufflevector(c, d, 0, 1, 4, 5));
      store_vector(line + kPanelTileCols * 12, __builtin_shufflevector(c, d, 2, 3, 6, 7));
    }
  }
}

template <class T, bool pairs>
TW_FN void pack_group(T* to, const T* from, MatrixLayout layout, size_t stride, size_t ks,
                      size_t cols) {
  const bool by_rows = layout == MatrixLayout::kRows;
  constexpr bool kWords = pairs || sizeof(T) == 4;
  const bool ragged = ks < kPackedK || cols < kPanelCols;
  if (ragged || (!by_rows && !kWords))
    pack_ragged_group<T, pairs>(to, from, by_rows ? stride : 1, by_rows ? 1 : stride, ks, cols);
  else if (by_rows)
    pack_rows_group<T, pairs>(to, from, stride);
  else
    pack_cols_words(reinterpret_cast<char*>(to), reinterpret_cast<const char*>(from),
                    stride * sizeof(T), kPackedK * sizeof(T) / 4);
}

/// Along what lies together in `from`.
template <class T, bool pairs>
TW_FN void pack_panels(T* to, size_t panel, const T* from, MatrixLayout layout, size_t stride,
                       size_t ks, size_t cols) {
  const auto group = [&](size_t k, size_t j) {
    const size_t at = layout == MatrixLayout::kRows ? k * stride + j : j * stride + k;
    pack_group<T, pairs>(to + j / kPanelCols * panel + k * kPanelCols, from + at, layout, stride,
                         ks - k < kPackedK ? ks - k : kPackedK,
                         cols - j < kPanelCols ? cols - j : kPanelCols);
  };
  if (layout == MatrixLayout::kRows) {
    for (size_t k = 0; k < ks; k += kPackedK)
      for (size_t j = 0; j < cols; j += kPanelCols) group(k, j);
  } else {
    for (size_t j = 0; j < cols; j += kPanelCols)
      for (size_t k = 0; k < ks; k += kPackedK) group(k, j);
  }
}

/// `ks` x `cols` elements of a plain B, from element (row, col), as panels `panel` bytes apart, or
/// as parts of panels that begin at a multiple of 32 in K.
TW_FN void pack_right(void* to, size_t panel, const Operand& b, size_t row, size_t col, size_t ks,
                      size_t cols) {
  const size_t at = b.layout == MatrixLayout::kRows ? row * b.stride + col : col * b.stride + row;
  const size_t element = packed_element(b.type);
  const char* const from = static_cast<const char*>(b.data) + at * element;
  const auto pack = [&](auto pairs, auto* typed_to, const auto* typed_from) {
    using T = std::remove_pointer_t<decltype(typed_to)>;
    pack_panels<T, pairs>(typed_to, panel / element, typed_from, b.layout, b.stride, ks, cols);
  };
  if (b.type == TW_FP32)
    pack(std::false_type{}, static_cast<uint32_t*>(to), reinterpret_cast<const uint32_t*>(from));
  else if (b.type == TW_BF16)
    pack(std::true_type{}, static_cast<uint16_t*>(to), reinterpret_cast<const uint16_t*>(from));
  else
    pack(std::false_type{}, static_cast<uint16_t*>(to), reinterpret_cast<const uint16_t*>(from));
}

}  // namespace TW_NS
