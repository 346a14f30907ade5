// A tile of 128 x 128 fp32 sums in the registers of 8 warps: warp w has rows 16 w .. 16 w + 15, a
// thread 64 sums. The same on all targets, so that what follows a multiplication is written once.
//
//   16-bit operands   d[4 j + 2 h + i]: row l / 4 + 8 h, column 8 j + 2 (l % 4) + i of lane l: what
//                     wgmma m64n128 and mma m16n8 give
//   fp32 operands     d[8 h + j], h = 0 .. 7: row 8 (l / 16) + h, column 16 j + l % 16
//
// Paired tiles (SwiGLU): a tile has at most 64 columns; its gates are columns 0 .. 63 and what they
// gate is columns 64 .. 127. Both of a pair are in one thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/grid.h"
#include "tilewire/tile/impl/gpu/copy.h"
#include "tilewire/tile/impl/gpu/lanes.h"
#include "tilewire/tile/target.h"

namespace TW_NS {

inline constexpr int kSums = 64;      // of a thread
inline constexpr int kTileWarps = 8;  // that hold a tile
inline constexpr int kTileThreads = 32 * kTileWarps;
inline constexpr int kWarpRows = 16;
inline constexpr int kPairCols = 64;  // of each half of a paired tile

/// Which columns and rows a thread's sums are of: see above.
enum class Fragment { kMatrix, kFma };

template <Fragment f>
struct TileSums {
  static constexpr Fragment kFragment = f;
  float d[kSums];
  Tile tile;
  RowPart only;  // of the tile: what is reduced and stored
};

/// What roles that do not multiply have.
struct NoSums {
  Tile tile;
  RowPart only;
};

template <Fragment f>
TW_FN void clear(TileSums<f>& sum) {
#pragma unroll
  for (int i = 0; i < kSums; ++i) sum.d[i] = 0;
}

TW_FN int lane() { return static_cast<int>(threadIdx.x % 32); }
/// Number among the tile's warps.
TW_FN int tile_warp() { return static_cast<int>(threadIdx.x / 32); }

// ---- Rounding: one, to nearest even; any NaN becomes the one quiet NaN (tile/types.h) ----

TW_FN uint32_t pack16(tw_type_t type, float low, float high) {
  return type == TW_BF16 ? narrow_bf16(low) | narrow_bf16(high) << 16
                         : narrow_fp16(low) | narrow_fp16(high) << 16;
}
TW_FN float low16(tw_type_t type, uint32_t two) {
  return type == TW_BF16 ? __uint_as_float(two << 16) : ptx::float_of_fp16(two);
}
TW_FN float high16(tw_type_t type, uint32_t two) {
  return type == TW_BF16 ? __uint_as_float(two & 0xffff0000u) : ptx::float_of_fp16(two >> 16);
}
TW_FN float rounded(float x, tw_type_t type) {
  if (type == TW_FP32) return x;
  return type == TW_BF16 ? __uint_as_float(narrow_bf16(x) << 16)
                         : ptx::float_of_fp16(narrow_fp16(x));
}

// ---- Four neighbouring elements of memory ----

TW_FN float load_one(const char* from, size_t i, tw_type_t type) {
  from = in_global(from);
  if (type == TW_FP32) return reinterpret_cast<const float*>(from)[i];
  return low16(type, reinterpret_cast<const uint16_t*>(from)[i]);
}
TW_FN void store_one(char* to, size_t i, float x, tw_type_t type) {
  to = in_global(to);
  if (type == TW_FP32)
    reinterpret_cast<float*>(to)[i] = x;
  else
    reinterpret_cast<uint16_t*>(to)[i] = static_cast<uint16_t>(pack16(type, x, 0));
}

/// Elements i .. i + 3 of `from`, of which `count` exist; `whole`: all, and they are aligned.
TW_FN float4 load_four(const char* from, size_t i, int count, bool whole, tw_type_t type) {
  from = in_global(from);
  if (whole && type == TW_FP32) return *reinterpret_cast<const float4*>(from + 4 * i);
  if (whole) {
    const uint2 two = *reinterpret_cast<const uint2*>(from + 2 * i);
    return make_float4(low16(type, two.x), high16(type, two.x), low16(type, two.y),
                       high16(type, two.y));
  }
  float4 x = make_float4(0, 0, 0, 0);
#pragma unroll 1
  for (int c = 0; c < 4; ++c)  // seldom, and small: the components pass by one place
    x = make_float4(x.y, x.z, x.w, c < count ? load_one(from, i + c, type) : 0.0f);
  return x;
}
TW_FN void store_four(char* to, size_t i, float4 x, int count, bool whole, tw_type_t type) {
  to = in_global(to);
  if (whole && type == TW_FP32) {
    *reinterpret_cast<float4*>(to + 4 * i) = x;
  } else if (whole) {
    *reinterpret_cast<uint2*>(to + 2 * i) =
        make_uint2(pack16(type, x.x, x.y), pack16(type, x.z, x.w));
  } else {
#pragma unroll 1
    for (int c = 0; c < count; ++c) {
      store_one(to, i + c, x.x, type);
      x = make_float4(x.y, x.z, x.w, x.x);
    }
  }
}

TW_FN size_t element_bytes(tw_type_t type) { return type == TW_FP32 ? 4 : 2; }
/// Whether vectors of four elements at `p` plus multiples of four are aligned.
TW_FN bool fours_aligned(const void* p, tw_type_t type) {
  return reinterpret_cast<uintptr_t>(p) % (4 * element_bytes(type)) == 0;
}

}  // namespace TW_NS
