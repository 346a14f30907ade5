// exp and log: additions, multiplications and divisions only, written for one float (U = uint32_t)
// or a vector of them, so that every target and every tail gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/types.h"

namespace TW_NS {

template <class F>
TW_INLINE F splat_of(float value) {
  return F{} + value;
}

/// e^x. Relative error below 3e-7; infinity where fp32 ends, NaN stays. Below -87 it is e^-87:
/// results that are not normal numbers would take a hundred times as long.
template <class F, class U>
TW_INLINE F exponential(F x) {
  x = select(x < -87.0f, splat_of<F>(-87.0f), x);
  x = select(x > 89.0f, splat_of<F>(89.0f), x);
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: the sum's low bits are the rounded number
  const F shifted = x * 1.44269504f + kRound;
  const U n = bits_as<U>(shifted) - 0x4b400000u;
  const F whole = shifted - kRound;
  const F r = (x - whole * 0.693359375f) - whole * -2.12194440e-4f;  // ln 2 in two parts
  F p = r * (1.0f / 5040) + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  // 2^n in two factors: n may be 128.
  const U half = ((n + 256u) >> 1) - 128u;
  const F first = bits_as<F>((half + 127u) << 23);
  const F second = bits_as<F>((n - half + 127u) << 23);
  return p * first * second;
}

/// The natural logarithm of a normal number x > 0. Error below 2e-7 of the result or of 2e-7,
/// whichever is larger. x = 2^k m with sqrt(1/2) <= m < sqrt(2), and log m = 2 atanh((m - 1) / (m +
/// 1)) as a series.
TW_INLINE float logarithm(float x) {
  constexpr uint32_t kRootHalf = 0x3f3504f3;
  const uint32_t bits = bits_as<uint32_t>(x);
  const int32_t k = static_cast<int32_t>(bits - kRootHalf) >> 23;
  const float m = bits_as<float>(bits - (static_cast<uint32_t>(k) << 23));
  const float s = (m - 1.0f) / (m + 1.0f), z = s * s;
  const float series = z * (1.0f / 3 + z * (1.0f / 5 + z * (1.0f / 7 + z * (1.0f / 9))));
  const auto whole = static_cast<float>(k);
  return whole * 0.693359375f + (whole * -2.12194440e-4f + 2.0f * (s + s * series));
}

}  // namespace TW_NS
