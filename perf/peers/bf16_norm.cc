#include "perf/peers/bf16_norm.h"

#include <cmath>
#include <cstring>

#if defined(__x86_64__)
// GCC 12's own header uses the registers that it means to leave undefined (GCC bug 105593).
#if !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#endif

namespace tw::perf {

namespace {

struct Row {
  uint16_t* hidden;
  const uint16_t* residual;
  const uint16_t* weight;
  uint16_t* out;
  size_t n;
};

float widen(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

uint16_t narrow(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Adds the residual from element `i` on; the sum of the squares.
float add_residual(const Row& row, size_t i) {
  float squares = 0;
  for (; i < row.n; ++i) {
    row.hidden[i] = narrow(widen(row.hidden[i]) + widen(row.residual[i]));
    const float x = widen(row.hidden[i]);
    squares += x * x;
  }
  return squares;
}

void scale(const Row& row, size_t i, float factor) {
  for (; i < row.n; ++i) row.out[i] = narrow(widen(row.hidden[i]) * factor * widen(row.weight[i]));
}

float factor_of(float squares, size_t n, float eps) {
  return 1 / std::sqrt(squares / static_cast<float>(n) + eps);
}

void norm_portable(const Row& row, float eps) {
  scale(row, 0, factor_of(add_residual(row, 0), row.n, eps));
}

#if defined(__x86_64__)
#define TW_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

TW_AVX512_BF16 inline __m512 load(const uint16_t* from) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

TW_AVX512_BF16 inline __m256i rounded(__m512 value) { return (__m256i)_mm512_cvtneps_pbh(value); }

TW_AVX512_BF16 inline void store(uint16_t* to, __m256i bits) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bits);
}

TW_AVX512_BF16 void norm_avx512_bf16(const Row& row, float eps) {
  __m512 squares = _mm512_setzero_ps();
  size_t i = 0;
  for (; i + 16 <= row.n; i += 16) {
    store(row.hidden + i, rounded(_mm512_add_ps(load(row.hidden + i), load(row.residual + i))));
    const __m512 x = load(row.hidden + i);
    squares = _mm512_fmadd_ps(x, x, squares);
  }
  const float sum = _mm512_reduce_add_ps(squares) + add_residual(row, i);
  const float factor = factor_of(sum, row.n, eps);
  const __m512 factors = _mm512_set1_ps(factor);
  for (i = 0; i + 16 <= row.n; i += 16) {
    const __m512 x = _mm512_mul_ps(load(row.hidden + i), factors);
    store(row.out + i, rounded(_mm512_mul_ps(x, load(row.weight + i))));
  }
  scale(row, i, factor);
}
#endif

bool has_avx512_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

}  // namespace

void bf16_residual_rms_norm(uint16_t* hidden, const uint16_t* residual, const uint16_t* weight,
                            uint16_t* out, size_t m, size_t n, float eps) {
  static const bool wide = has_avx512_bf16();
  for (size_t i = 0; i < m; ++i) {
    const Row row{hidden + i * n, residual + i * n, weight, out + i * n, n};
#if defined(__x86_64__)
    if (wide) {
      norm_avx512_bf16(row, eps);
      continue;
    }
#endif
    norm_portable(row, eps);
  }
}

}  // namespace tw::perf
