// A's rows of a tile as the multiply step reads them, packed by the block and kept for the tiles
// beside it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/cpu/tile_elements.h"
#include "tilewire/tile/impl/cpu/tile_scratch.h"
#include "tilewire/tile/matrix.h"

namespace TW_NS {

/// One row of a step: `ks` elements, then zeros to a whole group.
template <class To>
TW_FN void pack_left_row(To* to, const char* from, tw_type_t type, size_t ks) {
  if constexpr (sizeof(To) == 2) {
    copy_bytes(to, from, ks * sizeof(To), /*stream=*/false);
  } else {
    with_type(type, [&](auto t) {
      for_lanes(ks, [&](size_t i, size_t n) {
        store_some<TW_FP32>(to + i, load_some<t.kType>(from + i * t.kBytes, n), n);
      });
    });
  }
  for (size_t k = ks; k % kPackedK != 0; ++k) to[k] = 0;
}

/// Rows that lie column by column: blocks of 32 x 32, so that lines are used while they are near.
template <class To>
TW_FN void pack_left_cols(To* to, size_t to_stride, const char* from, const Operand& a, size_t rows,
                          size_t ks) {
  const size_t element = packed_element(a.type);
  const auto value = [&](size_t i, size_t k) {
    const char* const at = from + (k * a.stride + i) * element;
    if constexpr (sizeof(To) == 2) {
      return load_vector<uint16_t>(at);
    } else {
      if (a.type == TW_FP32) return load_vector<float>(at);
      const uint32_t code = load_vector<uint16_t>(at);
      return a.type == TW_BF16 ? Bf16::widen<float>(code) : Fp16::widen<float>(code);
    }
  };
  for (size_t k0 = 0; k0 < ks; k0 += kPackedK)
    for (size_t i0 = 0; i0 < rows; i0 += 32)
      for (size_t i = i0; i < rows && i < i0 + 32; ++i)
        for (size_t k = k0; k < k0 + kPackedK; ++k)
          to[i * to_stride + k] = k < ks ? value(i, k) : To{0};
}

/// `rows` x `ks` elements of A from (row, col).
template <class To>
TW_FN void pack_left(To* to, size_t to_stride, const Operand& a, size_t row, size_t col,
                     size_t rows, size_t ks) {
  const bool by_rows = a.layout == MatrixLayout::kRows;
  const size_t at = by_rows ? row * a.stride + col : col * a.stride + row;
  const char* from = static_cast<const char*>(a.data) + at * packed_element(a.type);
  if (!by_rows) return pack_left_cols(to, to_stride, from, a, rows, ks);
  for (size_t i = 0; i < rows; ++i)
    pack_left_row(to + i * to_stride, from + i * a.stride * packed_element(a.type), a.type, ks);
}

/// Packed steps of the rows that were multiplied last. Operands do not change during a launch (of a
/// program: during an op, after which comes `forget`), and a block lives as long as one, so what
/// was packed once stays good.
class LeftRows {
 public:
  /// `scratch`: the block's, of `bytes`; not touched before the first step.
  TW_FN LeftRows(char* scratch, size_t bytes)
      : scratch_(scratch), kept_bytes_(bytes > kTileScratch ? bytes - kTileScratch : 0) {}

  TW_FN void forget() { key_ = {}; }

  /// Rows row .. row + rows - 1 of `a`, K from `col`, `ks` of it, as To, the rows padded to 16 and
  /// `stride` elements apart: kCpuTile.k, or all of K in one step.
  template <class To>
  TW_FN const To* step(const Operand& a, size_t row, size_t rows, size_t col, size_t ks,
                       size_t stride = kCpuTile.k) {
    const size_t padded = divide_up(rows, 16) * 16;
    const size_t bytes = padded * stride * sizeof(To), number = col / kCpuTile.k;
    const Key key{a.data, a.stride, row, rows, a.cols, sizeof(To), a.layout};
    if (!(key == key_)) {
      key_ = key;
      done_ = 0;
    }
    const bool keep = (number + 1) * bytes <= kept_bytes_;
    To* const to = reinterpret_cast<To*>(
        scratch_ + (keep ? kTileScratch + number * bytes : TileScratch::kLeftStep));
    if (keep && number < done_) return to;
    pack_left(to, stride, a, row, col, rows, ks);
    for (size_t i = rows * stride; i < padded * stride; ++i) to[i] = To{0};
    if (keep && number == done_) ++done_;
    return to;
  }

 private:
  struct Key {
    const void* data;
    size_t stride, row, rows, cols, element;
    MatrixLayout layout;
    TW_FN bool operator==(const Key& other) const {
      return data == other.data && stride == other.stride && row == other.row &&
             rows == other.rows && cols == other.cols && element == other.element &&
             layout == other.layout;
    }
  };

  char* scratch_;
  size_t kept_bytes_;  // of scratch beyond kTileScratch
  Key key_{};
  size_t done_ = 0;  // steps of key_'s rows that are kept
};

}  // namespace TW_NS
