#include "perf/peers/bf16_sum.h"

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

uint16_t add(uint16_t a, uint16_t b) {
  const uint32_t wide_a = static_cast<uint32_t>(a) << 16, wide_b = static_cast<uint32_t>(b) << 16;
  float x, y;
  std::memcpy(&x, &wide_a, sizeof(x));
  std::memcpy(&y, &wide_b, sizeof(y));
  x += y;
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

void sum_portable(const uint16_t* in, uint16_t* inout, size_t count) {
  for (size_t i = 0; i < count; ++i) inout[i] = add(in[i], inout[i]);
}

#if defined(__x86_64__)

// The even elements of 32 bf16 as fp32, and the odd ones: no shuffles on the way in or out.
#define TW_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl")))

TW_AVX512 inline __m512 even(__m512i v) { return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16)); }
TW_AVX512 inline __m512 odd(__m512i v) {
  return _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}

// Adds half a unit, less one bit when the result is even: round to nearest even, in 32-bit lanes.
TW_AVX512 inline __m512i rounded(__m512 v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i lowest = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  return _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), lowest);
}

TW_AVX512 void sum_avx512(const uint16_t* in, uint16_t* inout, size_t count) {
  size_t i = 0;
  for (; i + 32 <= count; i += 32) {
    const __m512i a = _mm512_loadu_si512(in + i), b = _mm512_loadu_si512(inout + i);
    const __m512i low = rounded(_mm512_add_ps(even(a), even(b)));
    const __m512i high = rounded(_mm512_add_ps(odd(a), odd(b)));
    // Odd lanes come from `high` as they stand, even ones are the upper halves of `low`.
    _mm512_storeu_si512(inout + i,
                        _mm512_mask_blend_epi16(0xaaaaaaaau, _mm512_srli_epi32(low, 16), high));
  }
  sum_portable(in + i, inout + i, count - i);
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) void sum_avx512_bf16(
    const uint16_t* in, uint16_t* inout, size_t count) {
  size_t i = 0;
  for (; i + 32 <= count; i += 32) {
    const __m512i a = _mm512_loadu_si512(in + i), b = _mm512_loadu_si512(inout + i);
    const __m256i low = (__m256i)_mm512_cvtneps_pbh(_mm512_add_ps(even(a), even(b)));
    const __m256i high = (__m256i)_mm512_cvtneps_pbh(_mm512_add_ps(odd(a), odd(b)));
    _mm512_storeu_si512(inout + i,
                        _mm512_or_si512(_mm512_cvtepu16_epi32(low),
                                        _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16)));
  }
  sum_portable(in + i, inout + i, count - i);
}

#define TW_AVX2 __attribute__((target("avx2")))

TW_AVX2 inline __m256i rounded(__m256 v) {
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i lowest = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  return _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), lowest);
}

TW_AVX2 void sum_avx2(const uint16_t* in, uint16_t* inout, size_t count) {
  const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + i));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(inout + i));
    const __m256i low = rounded(_mm256_add_ps(_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)),
                                              _mm256_castsi256_ps(_mm256_slli_epi32(b, 16))));
    const __m256i high = rounded(_mm256_add_ps(_mm256_castsi256_ps(_mm256_and_si256(a, upper)),
                                               _mm256_castsi256_ps(_mm256_and_si256(b, upper))));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(inout + i),
                        _mm256_blend_epi16(_mm256_srli_epi32(low, 16), high, 0xaa));
  }
  sum_portable(in + i, inout + i, count - i);
}

#endif  // __x86_64__

}  // namespace

Bf16Sum choose_bf16_sum(const char** name) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    if (__builtin_cpu_supports("avx512bf16")) {
      *name = "AVX-512 BF16";
      return sum_avx512_bf16;
    }
    *name = "AVX-512";
    return sum_avx512;
  }
  if (__builtin_cpu_supports("avx2")) {
    *name = "AVX2";
    return sum_avx2;
  }
#endif
  *name = "scalar";
  return sum_portable;
}

}  // namespace tw::perf
