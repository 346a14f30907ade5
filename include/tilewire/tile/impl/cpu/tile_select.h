// Lines from which tokens are chosen: loops over vectors, as in tile_lines.h. Sums are of doubles,
// half a vector of floats at a time.
#pragma once

#include <cfloat>
#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/cpu/tile_elements.h"
#include "tilewire/tile/impl/cpu/tile_math.h"

namespace TW_NS {

inline constexpr float kInfinity = __builtin_inff();

/// The numbers of lanes.
TW_INLINE Words lane_numbers() {
  Words numbers{};
  for (size_t l = 0; l < kLanes; ++l) numbers[l] = static_cast<uint32_t>(l);
  return numbers;
}

/// Bits at .. at + n - 1, n <= 32, lowest first; what is above them is arbitrary.
TW_INLINE uint32_t some_bits(const uint32_t* bits, size_t at, size_t n) {
  const size_t shift = at % 32;
  uint32_t found = bits[at / 32] >> shift;
  if (shift + n > 32) found |= bits[at / 32 + 1] << (32 - shift);
  return found;
}

TW_FN void allow_line(float* line, const uint32_t* bits, size_t first, size_t n) {
  const Words lane = lane_numbers();
  const Floats most = splat_of<Floats>(FLT_MAX), none = splat_of<Floats>(-kInfinity);
  for_lanes(n, [&](size_t i, size_t lanes) {
    Floats x = load_some<TW_FP32>(line + i, lanes);
    x = select(x > most, most, x);
    x = select(x == x, x, none);
    if (bits != nullptr) {
      const Words word = splat<Words>(some_bits(bits, first + i, lanes));
      x = select((word >> lane & 1u) != 0u, x, none);
    }
    store_some<TW_FP32>(line + i, x, lanes);
  });
}

TW_FN void exponential_line(float* to, const float* line, float from, float by, size_t n) {
  for_lanes(n, [&](size_t i, size_t lanes) {
    const Floats x = (load_some<TW_FP32>(line + i, lanes) - from) * by;
    store_some<TW_FP32>(to + i, exponential<Floats, Words>(x), lanes);
  });
}

// ---- Sums of doubles ----

using Doubles = Vec<double>;
using HalfFloats = VecOf<float, Target::kVectorBytes / 2>::type;
using HalfWords = VecOf<int32_t, Target::kVectorBytes / 2>::type;
inline constexpr size_t kHalfLanes = kLanes / 2;

template <class V>
TW_INLINE auto sum_of_lanes(V v) {
  auto sum = v[0];
  for (size_t l = 1; l < sizeof v / sizeof v[0]; ++l) sum += v[l];
  return sum;
}

/// A vector of floats as two halves.
struct Halved {
  HalfFloats part[2];
  TW_INLINE explicit Halved(Floats v) { __builtin_memcpy(part, &v, sizeof v); }
};

TW_FN double sum_of_exponential_line(const float* line, float from, size_t n) {
  Doubles sums[2] = {};
  for_lanes(n, [&](size_t i, size_t lanes) {
    Floats x = load_some<TW_FP32>(line + i, lanes) - from;
    x = exponential<Floats, Words>(x);
    for (size_t l = lanes; l < kLanes; ++l) x[l] = 0;
    const Halved halves(x);
    for (int h = 0; h < 2; ++h) sums[h] += __builtin_convertvector(halves.part[h], Doubles);
  });
  return sum_of_lanes(sums[0] + sums[1]);
}

struct LineAbove {
  size_t count;
  double weight;
};

TW_FN LineAbove above_line(const float* line, const float* weights, float limit, size_t n) {
  Doubles sums[2] = {};
  HalfWords counts[2] = {};
  for_lanes(n, [&](size_t i, size_t lanes) {
    Floats x = load_some<TW_FP32>(line + i, lanes);
    for (size_t l = lanes; l < kLanes; ++l) x[l] = -kInfinity;
    const Halved all(x), weight(load_some<TW_FP32>(weights + i, lanes));
    for (int h = 0; h < 2; ++h) {
      const auto over = all.part[h] > limit;
      counts[h] -= over;
      const HalfFloats counted = select(over, weight.part[h], HalfFloats{});
      sums[h] += __builtin_convertvector(counted, Doubles);
    }
  });
  return {static_cast<size_t>(sum_of_lanes(counts[0] + counts[1])),
          sum_of_lanes(sums[0] + sums[1])};
}

// ---- Parts of a line ----

/// Where both are: the line's vector is read before the kept ones are written, at or before it.
TW_FN size_t keep_line(float* to, float* to_weights, const float* line, const float* weights,
                       float low, float high, size_t n) {
  size_t kept = 0, i = 0;
#if defined(TW_TARGET_VECTOR_512)
  for (; i + kLanes <= n; i += kLanes) {
    const auto x = bits_as<__m512>(load_vector<Floats>(line + i));
    const auto w = bits_as<__m512>(load_vector<Floats>(weights + i));
    const __mmask16 above = _mm512_cmp_ps_mask(x, _mm512_set1_ps(low), _CMP_GT_OQ);
    const __mmask16 both = _mm512_mask_cmp_ps_mask(above, x, _mm512_set1_ps(high), _CMP_LE_OQ);
    store_vector(to + kept, _mm512_maskz_compress_ps(both, x));
    store_vector(to_weights + kept, _mm512_maskz_compress_ps(both, w));
    kept += static_cast<size_t>(__builtin_popcount(both));
  }
#endif
  for (; i < n; ++i) {
    const float x = line[i], w = weights[i];
    to[kept] = x;
    to_weights[kept] = w;
    kept += static_cast<size_t>(x > low) & static_cast<size_t>(x <= high);
  }
  return kept;
}

TW_FN size_t find_in_line(const float* line, float value, size_t skip, size_t n) {
  constexpr size_t kPart = 16 * kLanes;
  for (size_t begin = 0; begin < n; begin += kPart) {
    const size_t end = n - begin < kPart ? n : begin + kPart;
    if (end - begin == kPart) {
      Vec<int32_t> counts{};
      for (size_t i = begin; i < end; i += kLanes) counts -= load_vector<Floats>(line + i) == value;
      const auto equal = static_cast<size_t>(sum_of_lanes(counts));
      if (equal <= skip) {
        skip -= equal;
        continue;
      }
    }
    for (size_t i = begin; i < end; ++i)
      if (line[i] == value && skip-- == 0) return i;
  }
  return n;
}

}  // namespace TW_NS
