// Operands as the multiplication reads them, in shared memory: an image of 128 lines (rows of A,
// columns of B) of 128 bytes of K, 16-byte chunk q of line r at q ^ (r % 8). Here: how an image is
// made by threads, from any layout, stride and alignment. Zeros fill the end of K; lines that do
// not exist are left as they are: they touch no result that does.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/gpu/copy.h"
#include "tilewire/tile/impl/gpu/fragment.h"
#include "tilewire/tile/impl/gpu/ptx/copy.h"
#include "tilewire/tile/matrix.h"
#include "tilewire/tile/packed.h"

namespace TW_NS {

inline constexpr int kImageLines = 128, kLineBytes = 128, kLineChunks = 8;
inline constexpr int kImageBytes = kImageLines * kLineBytes;
inline constexpr int kStageBytes = 2 * kImageBytes;  // A, then B

TW_FN int image_at(int line, int q) { return line * kLineBytes + (q ^ line % 8) * 16; }

/// Elements of K in a line, a power of two: no division in what a loader does at every step.
TW_FN int line_k_shift(tw_type_t type) { return type == TW_FP32 ? 5 : 6; }
TW_FN size_t line_k(tw_type_t type) { return size_t{1} << line_k_shift(type); }
static_assert(gpu_packed_k(TW_BF16) == 64 && gpu_packed_k(TW_FP32) == 32);

/// Byte of packed weights at which line `line` of the image begins that holds element `k`.
TW_FN size_t packed_line(const Operand& of, size_t line, size_t k) {
  const int shift = line_k_shift(of.type);
  const size_t steps = (of.rows + (size_t{1} << shift) - 1) >> shift;
  return kPackedHeader + (line / kImageLines * steps + (k >> shift)) * kGpuPackedTile +
         line % kImageLines * kLineBytes;
}

/// Images that one multiply step of kGpuTile.k elements takes: fp32 lines hold half as many.
TW_FN int images_of(const OperandAt& a) {
  return a.of->type == TW_FP32 && a.of->cols - a.col > line_k(TW_FP32) ? 2 : 1;
}

/// The lines of one image: `count` from line `begin` on, of which those from kPairCols on (in the
/// image) are from `second` on when the tile is paired.
struct Lines {
  const Operand* of;
  bool is_b;
  bool paired;
  size_t begin, second;
  int count;  // of each half when paired
  size_t k;   // first element of K

  TW_FN bool has(int r) const { return (paired ? r % kPairCols : r) < count; }
  TW_FN size_t line(int r) const {
    return paired && r >= kPairCols ? second + r - kPairCols : begin + r;
  }
  TW_FN size_t k_size() const { return is_b ? of->rows : of->cols; }
  /// Whether neighbours in K are neighbours in memory.
  TW_FN bool along_k() const {
    return of->layout == (is_b ? MatrixLayout::kCols : MatrixLayout::kRows);
  }
  /// Element (line, k), not of packed weights; bytes from one k to the next.
  TW_FN const char* at(size_t line, size_t k) const {
    const char* const data = in_global(static_cast<const char*>(of->data));
    const size_t element = element_bytes(of->type);
    return data + (along_k() ? line * of->stride + k : k * of->stride + line) * element;
  }
  TW_FN size_t k_stride() const { return (along_k() ? 1 : of->stride) * element_bytes(of->type); }
};

TW_FN Lines lines_of_a(const OperandAt& a, const Tile& tile, int image) {
  return {a.of,
          false,
          false,
          a.row,
          0,
          static_cast<int>(tile.rows),
          a.col + image * line_k(a.of->type)};
}
TW_FN Lines lines_of_b(const OperandAt& b, const Tile& tile, int image) {
  return {b.of,
          true,
          tile.pair != 0,
          b.col,
          tile.pair + b.col,
          static_cast<int>(tile.cols),
          b.row + image * line_k(b.of->type)};
}

/// Whether chunks of a line are contiguous and aligned in memory. Packed weights are: the caller
/// aligns them.
TW_FN bool by_chunks(const Lines& lines) {
  const Operand& of = *lines.of;
  if (of.layout == MatrixLayout::kPacked) return true;
  return lines.along_k() && aligned(of.data, 16) && of.stride * element_bytes(of.type) % 16 == 0;
}

/// A chunk by elements: `left` of them exist.
TW_FN uint4 gather_chunk(const Lines& lines, size_t line, size_t k, size_t left) {
  uint32_t word[4] = {};
  const char* from = lines.at(line, k);
  const size_t step = lines.k_stride();
  const bool wide = lines.of->type == TW_FP32;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (static_cast<size_t>(i) < left) {
      if (!wide)
        word[i / 2] |= static_cast<uint32_t>(*reinterpret_cast<const uint16_t*>(from))
                       << i % 2 * 16;
      else if (i < 4)
        word[i] = *reinterpret_cast<const uint32_t*>(from);
    }
    from += step;
  }
  return make_uint4(word[0], word[1], word[2], word[3]);
}

/// Whether lines are neighbours in memory, by aligned vectors of 8 bytes.
TW_FN bool by_vectors(const Lines& lines) {
  const Operand& of = *lines.of;
  const size_t element = element_bytes(of.type);
  return of.layout != MatrixLayout::kPacked && !lines.along_k() && aligned(of.data, 8) &&
         of.stride * element % 8 == 0 && lines.begin * element % 8 == 0 &&
         (!lines.paired || lines.second * element % 8 == 0);
}

/// `yes ? a : b`, field by field: a choice between objects would be one of addresses.
TW_FN Lines choose(bool yes, const Lines& a, const Lines& b) {
  return {yes ? a.of : b.of,       yes ? a.is_b : b.is_b,     yes ? a.paired : b.paired,
          yes ? a.begin : b.begin, yes ? a.second : b.second, yes ? a.count : b.count,
          yes ? a.k : b.k};
}

/// Chunk of line `i` of a rectangle whose rows are vectors along the lines, one for each element of
/// K: 8 x 4 elements, or 4 x 2 `wide` ones.
TW_FN uint4 turned(const uint2 (&row)[8], int i, bool wide) {
  const auto word = [&](int k) { return (wide ? i : i / 2) == 0 ? row[k].x : row[k].y; };
  if (wide) return make_uint4(word(0), word(1), word(2), word(3));
  const uint32_t halves = i % 2 == 0 ? 0x5410 : 0x7632;
  return make_uint4(__byte_perm(word(0), word(1), halves), __byte_perm(word(2), word(3), halves),
                    __byte_perm(word(4), word(5), halves), __byte_perm(word(6), word(7), halves));
}

/// The image from memory in which lines are neighbours: rectangles are turned in registers.
/// Neighbouring threads have neighbouring chunks of the same lines: their stores meet no bank
/// twice.
template <int threads>
TW_FN void turn_lines(char* image, const Lines& lines, int t) {
  const bool wide = lines.of->type == TW_FP32;
  const int across = wide ? 2 : 4, per_chunk = wide ? 4 : 8;
  const size_t k_size = lines.k_size();
#pragma unroll 1
  for (int u = t; u < kLineChunks * kImageLines / across; u += threads) {
    const int q = u % kLineChunks, r = u / kLineChunks * across;
    if (!lines.has(r)) continue;
    const size_t line = lines.line(r), k = lines.k + q * per_chunk;
    const size_t exist = k < k_size ? k_size - k : 0;
    // Beyond the tile's lines may be what a peer is writing, or nothing.
    if (!lines.has(r + across - 1)) {
#pragma unroll 1
      for (int i = 0; lines.has(r + i); ++i)
        *reinterpret_cast<uint4*>(image + image_at(r + i, q)) =
            gather_chunk(lines, line + i, k, exist);
      continue;
    }
    const char* from = lines.at(line, k);
    uint2 row[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      row[i] = make_uint2(0, 0);
      if (i < per_chunk && static_cast<size_t>(i) < exist)
        row[i] = *reinterpret_cast<const uint2*>(from);
      from += lines.k_stride();
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (i < across) *reinterpret_cast<uint4*>(image + image_at(r + i, q)) = turned(row, i, wide);
  }
}

/// The image by `threads` threads, thread t = 0 .. threads - 1. `async`: by copy_async where chunks
/// allow it; the caller waits for them.
template <int threads, bool async>
TW_FN void copy_lines(char* image, const Lines& lines, int t) {
  if (by_vectors(lines)) return turn_lines<threads>(image, lines, t);
  const size_t element = element_bytes(lines.of->type), k_size = lines.k_size();
  const int per_chunk = static_cast<int>(16 / element);
  const bool whole = by_chunks(lines);
  const bool packed = lines.of->layout == MatrixLayout::kPacked;
#pragma unroll 2
  for (int i = t; i < kImageLines * kLineChunks; i += threads) {
    const int r = i % kImageLines, q = i / kImageLines;
    if (!lines.has(r)) continue;
    const size_t line = lines.line(r), k = lines.k + q * per_chunk;
    const size_t exist = k < k_size ? k_size - k : 0;
    const size_t left = exist < static_cast<size_t>(per_chunk) ? exist : per_chunk;
    char* const to = image + image_at(r, q);
    if (whole && (async || packed || left == static_cast<size_t>(per_chunk))) {
      const size_t bytes = packed ? 16 : left * element;
      const char* const data = static_cast<const char*>(lines.of->data);
      const char* from = bytes == 0 ? data : lines.at(line, k);
      if (packed) from = data + packed_line(*lines.of, line, k) + (q ^ line % 8) * 16;
      if (async)
        ptx::copy_async(to, from, static_cast<uint32_t>(bytes));
      else
        *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
    } else {
      *reinterpret_cast<uint4*>(to) = gather_chunk(lines, line, k, left);
    }
  }
}

}  // namespace TW_NS
