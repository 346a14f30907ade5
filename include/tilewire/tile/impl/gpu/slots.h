// Partial tiles in slots. A slot is the image of a fragment: warp w's part follows warp w - 1's,
// and in it 16-byte chunk c of lane l at (32 c + l) * 16: its sums 8 c .. 8 c + 7 as 16-bit
// numbers, or 4 c .. 4 c + 3 as fp32. So a thread gets back what a thread in the same place gave,
// by coalesced accesses, and tiles of few rows are short: only warps that have rows send their
// part.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/gpu/epilogue.h"
#include "tilewire/tile/impl/gpu/fragment.h"

namespace TW_NS {

/// Bytes of a warp's part.
TW_FN int slot_part(tw_type_t type) { return 32 * kSums * static_cast<int>(element_bytes(type)); }
/// Warps that have rows.
TW_FN int slot_parts(const Tile& tile) {
  return static_cast<int>((tile.rows + kWarpRows - 1) / kWarpRows);
}

/// Calls put(byte of the part, 16 bytes) for this thread's chunks.
template <Fragment f, class Put>
TW_FN void for_chunks(const TileSums<f>& sum, tw_type_t type, Put put) {
  const float(&d)[kSums] = sum.d;
  if (type == TW_FP32) {
#pragma unroll
    for (int c = 0; c < kSums / 4; ++c)
      put((32 * c + lane()) * 16,
          make_uint4(__float_as_uint(d[4 * c]), __float_as_uint(d[4 * c + 1]),
                     __float_as_uint(d[4 * c + 2]), __float_as_uint(d[4 * c + 3])));
    return;
  }
#pragma unroll
  for (int c = 0; c < kSums / 8; ++c) {
    const float* const x = &d[8 * c];
    put((32 * c + lane()) * 16, make_uint4(pack16(type, x[0], x[1]), pack16(type, x[2], x[3]),
                                           pack16(type, x[4], x[5]), pack16(type, x[6], x[7])));
  }
}

/// Sums of a thread that are added at once, of several ranks whose parts are read together: as much
/// on its way as fits in registers beside the tile.
inline constexpr int kAddedSums = 16;

/// total += the chunk's sums.
template <bool wide>
TW_FN void add_chunk(float* total, uint4 v, tw_type_t type) {
  const uint32_t word[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (wide) {
      total[i] += __uint_as_float(word[i]);
    } else {
      total[2 * i] += low16(type, word[i]);
      total[2 * i + 1] += high16(type, word[i]);
    }
  }
}

/// sum.d[begin ..] = the ranks' total, in rank order; the own part (`self`) is rounded already. A
/// total begins at -0, the number that changes no other by addition.
template <bool wide, Fragment f, class Partial>
TW_FN void add_parts(TileSums<f>& sum, int begin, int ranks, int self, size_t at, Partial partial,
                     tw_type_t type) {
  constexpr int kPerChunk = wide ? 4 : 8, kChunks = kAddedSums / kPerChunk;
  constexpr int kTogether = wide ? 2 : 4;  // ranks
  float total[kAddedSums];
#pragma unroll
  for (int i = 0; i < kAddedSums; ++i) total[i] = -0.0f;
#pragma unroll 1
  for (int first = 0; first < ranks; first += kTogether) {
    uint4 v[kTogether][kChunks];
#pragma unroll
    for (int g = 0; g < kTogether; ++g) {
      const int r = first + g;
      if (r >= ranks || r == self) continue;
      const uint4* const from = reinterpret_cast<const uint4*>(in_global(partial(r) + at)) + lane();
#pragma unroll
      for (int c = 0; c < kChunks; ++c) v[g][c] = from[32 * (begin / kPerChunk + c)];
    }
#pragma unroll
    for (int g = 0; g < kTogether; ++g) {
      const int r = first + g;
      if (r >= ranks) continue;
      if (r == self) {
#pragma unroll
        for (int i = 0; i < kAddedSums; ++i) total[i] += sum.d[begin + i];
      } else {
#pragma unroll
        for (int c = 0; c < kChunks; ++c) add_chunk<wide>(&total[kPerChunk * c], v[g][c], type);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kAddedSums; ++i) sum.d[begin + i] = rounded(total[i], type);
}

/// TileBlockOps::reduce, by the threads that hold the sums.
template <Fragment f, class Partial>
TW_FN void add_slots(TileSums<f>& sum, int ranks, int self, Partial partial, tw_type_t type) {
  if (tile_warp() >= slot_parts(sum.tile)) return;
  const size_t at = static_cast<size_t>(tile_warp()) * slot_part(type);
#pragma unroll
  for (int i = 0; i < kSums; ++i) sum.d[i] = rounded(sum.d[i], type);
#pragma unroll
  for (int begin = 0; begin < kSums; begin += kAddedSums) {
    if (type == TW_FP32)
      add_parts<true>(sum, begin, ranks, self, at, partial, type);
    else
      add_parts<false>(sum, begin, ranks, self, at, partial, type);
  }
}

}  // namespace TW_NS
