// fp32 sums of fp32 products from images in shared memory, by the threads that hold the tile.
#pragma once

#include "tilewire/tile/impl/gpu/fragment.h"
#include "tilewire/tile/impl/gpu/operand.h"

namespace TW_NS {

TW_FN float part_of(const float4& x, int i) {
  return i == 0 ? x.x : i == 1 ? x.y : i == 2 ? x.z : x.w;
}

/// sum += A B of one stage, K in order, each product fused with its addition.
TW_FN void multiply_fma(TileSums<Fragment::kFma>& sum, const char* stage) {
  constexpr int kRows = 8, kCols = 8, kColsAtOnce = 2;  // registers
  const char* const a = stage + (tile_warp() * kWarpRows + lane() / 16 * kRows) * kLineBytes;
  const char* const b = stage + kImageBytes + lane() % 16 * kLineBytes;
#pragma unroll 1
  for (int q = 0; q < kLineChunks; ++q) {
    float4 x[kRows];
#pragma unroll
    for (int h = 0; h < kRows; ++h)  // rows 8 n + h
      x[h] = *reinterpret_cast<const float4*>(a + h * kLineBytes + (q ^ h) * 16);
#pragma unroll
    for (int first = 0; first < kCols; first += kColsAtOnce) {
      float4 y[kColsAtOnce];
#pragma unroll
      for (int j = 0; j < kColsAtOnce; ++j)
        y[j] = *reinterpret_cast<const float4*>(b + 16 * (first + j) * kLineBytes +
                                                (q ^ lane() % 8) * 16);
#pragma unroll
      for (int k = 0; k < 4; ++k)
#pragma unroll
        for (int h = 0; h < kRows; ++h)
#pragma unroll
          for (int j = 0; j < kColsAtOnce; ++j) {
            float& d = sum.d[kCols * h + first + j];
            d = __fmaf_rn(part_of(x[h], k), part_of(y[j], k), d);
          }
    }
  }
}

}  // namespace TW_NS
