// The tile instructions of AMX in plain C++, after the pseudocode of Intel's manual (volume 2A,
// TDPBF16PS and its family), so that the source of cpu_amx runs, and is tested, on any machine.
// Include before tilewire/tile/impl/cpu/mma_amx.h: the intrinsics' names become these functions.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "tests/support/unseen.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tw::test::amx {

constexpr int kTiles = 8, kRows = 16, kRowBytes = 64;

struct Configuration {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
struct Tiles {
  bool configured = false;
  Configuration shape{};
  unsigned char data[kTiles][kRows][kRowBytes] = {};
};
inline thread_local Tiles tiles;

inline void configure(const void* from) {
  std::memcpy(&tiles.shape, from, sizeof tiles.shape);
  std::memset(tiles.data, 0, sizeof tiles.data);
  tiles.configured = true;
}
inline void release() { tiles.configured = false; }
inline void zero(int t) { std::memset(tiles.data[t], 0, sizeof tiles.data[t]); }

inline void load(int t, const void* base, size_t stride) {
  zero(t);
  for (int r = 0; tiles.configured && r < tiles.shape.rows[t]; ++r)
    std::memcpy(tiles.data[t][r], static_cast<const char*>(base) + static_cast<size_t>(r) * stride,
                tiles.shape.row_bytes[t]);
}
inline void store(int t, void* base, size_t stride) {
  for (int r = 0; tiles.configured && r < tiles.shape.rows[t]; ++r)
    std::memcpy(static_cast<char*>(base) + static_cast<size_t>(r) * stride, tiles.data[t][r],
                tiles.shape.row_bytes[t]);
}

/// Denormals count as 0, in and out.
TW_UNSEEN inline float flushed(float x) {
  return std::fabs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x;
}
TW_UNSEEN inline float bf16_at(const unsigned char* row, int i) {
  uint16_t code;
  std::memcpy(&code, row + 2 * i, sizeof code);
  const uint32_t bits = static_cast<uint32_t>(code) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return flushed(value);
}

constexpr int kLanes = kRowBytes / 4;

/// A tile's pairs, apart: even and odd elements of every row.
struct Pairs {
  float of[2][kRows][kLanes];
};
TW_UNSEEN inline void take_apart(Pairs* pairs, int t) {
  for (int odd = 0; odd < 2; ++odd)
    for (int r = 0; r < kRows; ++r)
      for (int i = 0; i < kLanes; ++i)
        pairs->of[odd][r][i] = bf16_at(tiles.data[t][r], 2 * i + odd);
}

/// sums[i] = x * y[i] + sums[i], rounded once.
TW_UNSEEN inline void add_products(float* sums, float x, const float* y) {
  for (int i = 0; i < kLanes; ++i) sums[i] = flushed(std::fma(x, y[i], sums[i]));
}

#if defined(__x86_64__)
/// The same bits; without FMA instructions each is a call.
__attribute__((target("avx2,fma"))) TW_UNSEEN inline void add_products_fma(float* sums, float x,
                                                                           const float* y) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  const __m256 least = _mm256_set1_ps(std::numeric_limits<float>::min());
  for (int i = 0; i < kLanes; i += 8) {
    const __m256 sum =
        _mm256_fmadd_ps(_mm256_set1_ps(x), _mm256_loadu_ps(y + i), _mm256_loadu_ps(sums + i));
    const __m256 small = _mm256_cmp_ps(_mm256_andnot_ps(sign, sum), least, _CMP_LT_OQ);
    _mm256_storeu_ps(sums + i, _mm256_andnot_ps(_mm256_andnot_ps(sign, small), sum));
  }
}
#endif

using AddProducts = void (*)(float*, float, const float*);
inline AddProducts add_products_here() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return add_products_fma;
#endif
  return add_products;
}

/// c += a * b: even and odd products of a row are summed apart, each step rounded once, then added.
TW_UNSEEN inline void dot_bf16(int c, int a, int b) {
  static const AddProducts add = add_products_here();
  const Configuration& shape = tiles.shape;
  Pairs left, right;
  take_apart(&left, a);
  take_apart(&right, b);
  for (int m = 0; m < shape.rows[c]; ++m) {
    float sums[2][kLanes] = {};
    for (int odd = 0; odd < 2; ++odd)
      for (int k = 0; k < shape.row_bytes[a] / 4; ++k)
        add(sums[odd], left.of[odd][m][k], right.of[odd][k]);
    for (int n = 0; n < shape.row_bytes[c] / 4; ++n) {
      float sum;
      std::memcpy(&sum, tiles.data[c][m] + 4 * n, sizeof sum);
      sum = flushed(flushed(sum) + flushed(sums[0][n] + sums[1][n]));
      std::memcpy(tiles.data[c][m] + 4 * n, &sum, sizeof sum);
    }
  }
}

}  // namespace tw::test::amx

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stream_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig(from) ::tw::test::amx::configure(from)
#define _tile_release() ::tw::test::amx::release()
#define _tile_zero(t) ::tw::test::amx::zero(t)
#define _tile_loadd(t, base, stride) ::tw::test::amx::load(t, base, stride)
#define _tile_stream_loadd(t, base, stride) ::tw::test::amx::load(t, base, stride)
#define _tile_stored(t, base, stride) ::tw::test::amx::store(t, base, stride)
#define _tile_dpbf16ps(c, a, b) ::tw::test::amx::dot_bf16(c, a, b)
