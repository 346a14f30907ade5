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

/// Sums of a thread that are added at once: more would not fit in registers beside the tile.
inline constexpr int kAddedSums = 16;

/// total += kAddedSums sums of a slot's part, from sum `begin` on.
TW_FN void add_part(float (&total)[kAddedSums], int begin, const char* part, tw_type_t type) {
  const uint4* const from = reinterpret_cast<const uint4*>(in_global(part)) + lane();
  if (type == TW_FP32) {
    constexpr int kAtOnce = 4;
#pragma unroll
    for (int first = 0; first < kAddedSums / 4; first += kAtOnce) {
      uint4 v[kAtOnce];
#pragma unroll
      for (int c = 0; c < kAtOnce; ++c) v[c] = from[32 * (begin / 4 + first + c)];
#pragma unroll
      for (int c = 0; c < kAtOnce; ++c) {
        float* const four = &total[4 * (first + c)];
        four[0] += __uint_as_float(v[c].x);
        four[1] += __uint_as_float(v[c].y);
        four[2] += __uint_as_float(v[c].z);
        four[3] += __uint_as_float(v[c].w);
      }
    }
    return;
  }
  uint4 v[kAddedSums / 8];
#pragma unroll
  for (int c = 0; c < kAddedSums / 8; ++c) v[c] = from[32 * (begin / 8 + c)];
#pragma unroll
  for (int c = 0; c < kAddedSums / 8; ++c) {
    const uint32_t two[4] = {v[c].x, v[c].y, v[c].z, v[c].w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      total[8 * c + 2 * i] += low16(type, two[i]);
      total[8 * c + 2 * i + 1] += high16(type, two[i]);
    }
  }
}

/// TileBlockOps::reduce, by the threads that hold the sums. A total begins at -0, the number that
/// changes no other by addition.
template <Fragment f, class Partial>
TW_FN void add_slots(TileSums<f>& sum, int ranks, int self, Partial partial, tw_type_t type) {
  if (tile_warp() >= slot_parts(sum.tile)) return;
  const size_t at = static_cast<size_t>(tile_warp()) * slot_part(type);
#pragma unroll
  for (int begin = 0; begin < kSums; begin += kAddedSums) {
    float total[kAddedSums];
#pragma unroll
    for (int i = 0; i < kAddedSums; ++i) total[i] = -0.0f;
#pragma unroll 1
    for (int r = 0; r < ranks; ++r) {
      if (r != self) {
        add_part(total, begin, partial(r) + at, type);
        continue;
      }
#pragma unroll
      for (int i = 0; i < kAddedSums; ++i) total[i] += rounded(sum.d[begin + i], type);
    }
#pragma unroll
    for (int i = 0; i < kAddedSums; ++i) sum.d[begin + i] = rounded(total[i], type);
  }
}

}  // namespace TW_NS
