// Small floating-point formats, encoded and decoded exactly.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace tw::vgpu {

enum class Rounding : uint8_t { kNearest, kZero, kDown, kUp };

/// A binary format of at most 32 bits.
struct FloatFormat {
  int exponent_bits;
  int mantissa_bits;
  bool has_infinity;  // else (e4m3) the top exponent holds numbers, and all ones is NaN
};
inline constexpr FloatFormat kHalf{5, 10, true};
inline constexpr FloatFormat kBfloat{8, 7, true};
inline constexpr FloatFormat kTf32Format{8, 10, true};
inline constexpr FloatFormat kE4m3Format{4, 3, false};
inline constexpr FloatFormat kE5m2Format{5, 2, true};

/// `value` rounded once. `saturates`: what is beyond the largest number becomes it, not infinity.
inline uint32_t encode(double value, const FloatFormat& format, Rounding rounding, bool saturates) {
  const int bias = (1 << (format.exponent_bits - 1)) - 1;
  const uint32_t sign =
      std::signbit(value) ? uint32_t{1} << (format.exponent_bits + format.mantissa_bits) : 0;
  const uint32_t infinity = ((uint32_t{1} << format.exponent_bits) - 1) << format.mantissa_bits;
  const uint32_t all_ones = infinity | ((uint32_t{1} << format.mantissa_bits) - 1);
  const uint32_t largest = format.has_infinity ? infinity - 1 : all_ones - 1;
  if (std::isnan(value)) return all_ones;  // the canonical NaN has no sign
  const uint32_t beyond = saturates || (rounding == Rounding::kZero && !std::isinf(value))
                              ? largest
                              : (format.has_infinity ? infinity : all_ones);
  if (std::isinf(value)) return sign | beyond;
  if (value == 0) return sign;
  int exponent = 0;
  const double magnitude = std::fabs(value);
  std::frexp(magnitude, &exponent);
  --exponent;  // magnitude is 1.x times two to it
  const int lowest = 1 - bias;
  const int unit = std::max(exponent, lowest) - format.mantissa_bits;
  const double scaled = std::ldexp(magnitude, -unit);
  double whole = std::floor(scaled);
  const double rest = scaled - whole;
  const bool is_odd = std::fmod(whole, 2) != 0;
  const bool away = rounding == Rounding::kNearest ? rest > 0.5 || (rest == 0.5 && is_odd)
                    : rounding == Rounding::kUp    ? rest > 0 && sign == 0
                    : rounding == Rounding::kDown  ? rest > 0 && sign != 0
                                                   : false;
  if (away) whole += 1;
  const auto significand = static_cast<uint32_t>(whole);
  // A significand that rounds up to the next power of two carries into the exponent.
  const uint32_t bits = exponent < lowest
                            ? significand
                            : (static_cast<uint32_t>(exponent + bias) << format.mantissa_bits) +
                                  significand - (uint32_t{1} << format.mantissa_bits);
  return sign | (bits > largest ? beyond : bits);
}

inline double decode_float(uint32_t bits, const FloatFormat& format) {
  const int bias = (1 << (format.exponent_bits - 1)) - 1;
  const uint32_t mantissa = bits & ((uint32_t{1} << format.mantissa_bits) - 1);
  const uint32_t exponent =
      bits >> format.mantissa_bits & ((uint32_t{1} << format.exponent_bits) - 1);
  const bool is_negative = bits >> (format.exponent_bits + format.mantissa_bits) & 1;
  const bool is_top = exponent == (uint32_t{1} << format.exponent_bits) - 1;
  double value = 0;
  if (is_top && format.has_infinity)
    value = mantissa == 0 ? HUGE_VAL : std::nan("");
  else if (is_top && mantissa == (uint32_t{1} << format.mantissa_bits) - 1)
    value = std::nan("");
  else if (exponent == 0)
    value = std::ldexp(mantissa, 1 - bias - format.mantissa_bits);
  else
    value = std::ldexp(mantissa | (uint32_t{1} << format.mantissa_bits),
                       static_cast<int>(exponent) - bias - format.mantissa_bits);
  return is_negative ? -value : value;
}

// ---- The two hot ones, without branches -----------------------------------------------------

inline float from_bfloat(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

inline uint16_t to_bfloat(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? 0x7fff : rounded);
}

inline float from_half(uint16_t bits) {
  const uint32_t magnitude = uint32_t{bits & 0x7fffu} << 13;
  // Scaled by 2^112; infinities and NaNs, which that leaves finite, get the exponent's top bits.
  const float scaled = std::bit_cast<float>(magnitude) * 0x1p112f;
  const uint32_t special = magnitude >= 0x0f800000 ? 0x7f800000u : 0u;
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(scaled) | special | sign);
}

inline uint16_t to_half(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7fffffff;
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  // Below the smallest normal number the addition rounds; above it the mantissa is rounded here.
  const float small = std::bit_cast<float>(magnitude) + 0.5f;
  const uint32_t subnormal = std::bit_cast<uint32_t>(small) - 0x3f000000;
  const uint32_t normal = (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13;
  uint32_t result = magnitude < 0x38800000 ? subnormal : normal;
  if (magnitude >= 0x477ff000) result = 0x7c00;
  if (magnitude > 0x7f800000) return 0x7fff;
  return static_cast<uint16_t>(result | sign);
}

/// The NaN that single-precision instructions give.
inline float canonical(float value) {
  return value != value ? std::bit_cast<float>(0x7fffffffu) : value;
}

}  // namespace tw::vgpu
