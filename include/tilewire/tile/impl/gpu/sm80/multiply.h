// Products of a stage on sm_80, into the fragment of fragment.h: a warp multiplies its 16 rows of A
// by all 128 columns of B.
#pragma once

#include "tilewire/tile/impl/gpu/fma.h"
#include "tilewire/tile/impl/gpu/fragment.h"
#include "tilewire/tile/impl/gpu/operand.h"
#include "tilewire/tile/impl/gpu/ptx/mma.h"

namespace TW_NS {

template <bool bf16>
TW_FN void multiply_matrix(TileSums<Fragment::kMatrix>& sum, const char* stage) {
  const char* const a = stage + tile_warp() * kWarpRows * kLineBytes;
  const char* const b = stage + kImageBytes;
  const int l = lane();
  // A: matrices are rows 0-7 and 8-15 of one chunk, then of the next. B: chunks of 8 columns, then
  // of the next 8.
#pragma unroll
  for (int k = 0; k < kLineChunks / 2; ++k) {
    const uint4 x = ptx::load_matrices(a + image_at(l % 16, 2 * k + l / 16));
#pragma unroll
    for (int j = 0; j < kImageLines / 16; ++j) {
      const uint4 y =
          ptx::load_matrices(b + image_at(16 * j + l / 16 * 8 + l % 8, 2 * k + l / 8 % 2));
      float(&left)[4] = reinterpret_cast<float(&)[4]>(sum.d[8 * j]);
      float(&right)[4] = reinterpret_cast<float(&)[4]>(sum.d[8 * j + 4]);
      if (bf16) {
        ptx::mma_bf16(left, x, y.x, y.y);
        ptx::mma_bf16(right, x, y.z, y.w);
      } else {
        ptx::mma_fp16(left, x, y.x, y.y);
        ptx::mma_fp16(right, x, y.z, y.w);
      }
    }
  }
}

}  // namespace TW_NS
