// Scalar reference of element types and reductions, independent of the kernels' own: values go
// through double, roundings are done by hand.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "tests/support/unseen.h"
#include "tilewire.h"

namespace tw::test {

inline constexpr tw_type_t kAllTypes[] = {TW_INT8,  TW_UINT8,  TW_INT32,    TW_UINT32,
                                          TW_INT64, TW_UINT64, TW_FP16,     TW_BF16,
                                          TW_FP32,  TW_FP64,   TW_FP8_E4M3, TW_FP8_E5M2};
inline constexpr tw_op_t kAllOps[] = {TW_SUM, TW_PROD, TW_MIN, TW_MAX, TW_AVG};

inline size_t type_bytes(tw_type_t type) {
  constexpr size_t kBytes[] = {1, 1, 4, 4, 8, 8, 2, 2, 4, 8, 1, 1};
  return kBytes[type];
}

/// A binary floating-point format with `exponent` + `mantissa` + 1 bits. `finite_only`: the top
/// exponent holds numbers, all ones is NaN (fp8_e4m3).
struct FloatFormat {
  int exponent, mantissa;
  bool finite_only;
  TW_INNER constexpr int bias() const { return (1 << (exponent - 1)) - 1; }
};
inline constexpr FloatFormat kFp16{5, 10, false}, kBf16{8, 7, false}, kE4m3{4, 3, true},
    kE5m2{5, 2, false};

/// 2^exponent, for exponents that normal doubles have.
TW_INNER inline double power_of_two(int exponent) {
  const uint64_t bits = static_cast<uint64_t>(exponent + 1023) << 52;
  double result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

/// The value of `bits`, exactly.
TW_INNER inline double decode(FloatFormat f, uint32_t bits) {
  const uint32_t mantissa = bits & ((1u << f.mantissa) - 1);
  const int exponent = static_cast<int>(bits >> f.mantissa) & ((1 << f.exponent) - 1);
  const double sign = (bits >> (f.mantissa + f.exponent)) & 1 ? -1.0 : 1.0;
  const int top = (1 << f.exponent) - 1;
  if (exponent == top && !f.finite_only) return mantissa != 0 ? std::nan("") : sign * HUGE_VAL;
  if (exponent == top && mantissa == (1u << f.mantissa) - 1) return std::nan("");
  if (exponent == 0) return sign * mantissa * power_of_two(1 - f.bias() - f.mantissa);
  return sign * (mantissa + (1u << f.mantissa)) * power_of_two(exponent - f.bias() - f.mantissa);
}

/// The nearest value's bits, ties to even, for a magnitude within the format's range.
TW_INNER inline uint32_t encode(FloatFormat f, double value) {
  const uint32_t sign = std::signbit(value) ? 1u << (f.mantissa + f.exponent) : 0;
  const double magnitude = std::fabs(value);
  if (magnitude == 0) return sign;
  uint64_t bits;
  std::memcpy(&bits, &magnitude, sizeof bits);
  int exponent = static_cast<int>(bits >> 52) - 1023;
  if (exponent < 1 - f.bias()) exponent = 1 - f.bias();
  // In units of the last place, rounded to even: doubles from 2^52 on are whole numbers. A carry
  // runs into the exponent as it should.
  const double units = magnitude * power_of_two(f.mantissa - exponent);
  const uint32_t whole = static_cast<uint32_t>((units + 0x1p52) - 0x1p52);
  const uint32_t base = static_cast<uint32_t>(exponent + f.bias() - 1) << f.mantissa;
  return sign | (base + whole);
}

/// What one element is as a number: floats exactly, integers modulo 2^64.
struct Number {
  double real = 0;
  uint64_t whole = 0;
};

inline bool is_float(tw_type_t type) { return type >= TW_FP16; }
inline bool is_signed(tw_type_t type) {
  return type == TW_INT8 || type == TW_INT32 || type == TW_INT64;
}

inline Number read_element(tw_type_t type, const void* at) {
  uint64_t bits = 0;
  std::memcpy(&bits, at, type_bytes(type));
  switch (type) {
    case TW_FP16:
      return {decode(kFp16, static_cast<uint32_t>(bits)), 0};
    case TW_BF16:
      return {decode(kBf16, static_cast<uint32_t>(bits)), 0};
    case TW_FP8_E4M3:
      return {decode(kE4m3, static_cast<uint32_t>(bits)), 0};
    case TW_FP8_E5M2:
      return {decode(kE5m2, static_cast<uint32_t>(bits)), 0};
    case TW_FP32: {
      float v;
      std::memcpy(&v, at, sizeof v);
      return {static_cast<double>(v), 0};
    }
    case TW_FP64: {
      double v;
      std::memcpy(&v, at, sizeof v);
      return {v, 0};
    }
    default: {
      const int unused = 64 - 8 * static_cast<int>(type_bytes(type));
      const uint64_t high = bits << unused;
      return {0, is_signed(type) ? static_cast<uint64_t>(static_cast<int64_t>(high) >> unused)
                                 : high >> unused};
    }
  }
}

inline void write_element(tw_type_t type, Number value, void* at) {
  uint64_t bits = value.whole;
  switch (type) {
    case TW_FP16:
      bits = encode(kFp16, value.real);
      break;
    case TW_BF16:
      bits = encode(kBf16, value.real);
      break;
    case TW_FP8_E4M3:
      bits = encode(kE4m3, value.real);
      break;
    case TW_FP8_E5M2:
      bits = encode(kE5m2, value.real);
      break;
    case TW_FP32: {
      const float v = static_cast<float>(value.real);
      std::memcpy(&bits, &v, sizeof v);
      break;
    }
    case TW_FP64:
      std::memcpy(&bits, &value.real, sizeof value.real);
      break;
    default:
      break;
  }
  std::memcpy(at, &bits, type_bytes(type));
}

/// The accumulator's rounding: floats below fp64 accumulate in fp32.
inline double accumulate(tw_type_t type, double v) {
  return type == TW_FP64 ? v : static_cast<double>(static_cast<float>(v));
}

inline Number combine(tw_type_t type, tw_op_t op, Number a, Number b) {
  if (is_float(type)) {
    switch (op) {
      case TW_PROD:
        return {accumulate(type, a.real * b.real), 0};
      case TW_MIN:
        return {b.real < a.real ? b.real : a.real, 0};
      case TW_MAX:
        return {b.real > a.real ? b.real : a.real, 0};
      default:
        return {accumulate(type, a.real + b.real), 0};
    }
  }
  const bool less = is_signed(type) ? static_cast<int64_t>(b.whole) < static_cast<int64_t>(a.whole)
                                    : b.whole < a.whole;
  switch (op) {
    case TW_PROD:
      return {0, a.whole * b.whole};
    case TW_MIN:
      return less ? b : a;
    case TW_MAX:
      return less ? a : b;
    default:
      return {0, a.whole + b.whole};
  }
}

/// The reduction of elements in order, rounded once, written to `out`.
inline void reduce_element(tw_type_t type, tw_op_t op, const std::vector<Number>& values,
                           void* out) {
  Number sum = values[0];
  for (size_t i = 1; i < values.size(); ++i) sum = combine(type, op, sum, values[i]);
  const auto n = static_cast<int64_t>(values.size());
  if (op == TW_AVG) {
    if (is_float(type))
      sum.real = accumulate(type, sum.real / static_cast<double>(n));
    else if (is_signed(type))
      sum.whole = static_cast<uint64_t>(static_cast<int64_t>(sum.whole) / n);
    else
      sum.whole /= static_cast<uint64_t>(n);
  }
  write_element(type, sum, out);
}

/// A reproducible element: small numbers with fractions, so that sums over 64 ranks stay in the
/// range of every type and their order and rounding show. Never zero.
inline void make_element(tw_type_t type, tw_op_t op, uint64_t seed, void* out) {
  uint64_t h = (seed + 1) * UINT64_C(0x9E3779B97F4A7C15);
  h ^= h >> 29;
  h *= UINT64_C(0xBF58476D1CE4E5B9);
  h ^= h >> 32;
  const bool product = op == TW_PROD;
  if (!is_float(type)) {
    // Products keep all low bits alive with odd factors; the rest stays small enough to average.
    const uint64_t v = product ? (h % 3) * 2 + 1 : 1 + h % (type_bytes(type) == 1 ? 4 : 1000000);
    write_element(type, {0, is_signed(type) && (h >> 40 & 1) ? ~v + 1 : v}, out);
    return;
  }
  constexpr double kFactors[] = {0.75, 0.875, 1.0, 1.125, 1.25};
  // All bits of the wide types' mantissas, so that sums of three and more depend on their order.
  const double fraction = type_bytes(type) >= 4 ? static_cast<double>(h >> 11) * 0x1p-53
                                                : static_cast<double>(h % 4096) / 4096;
  const double magnitude = product ? kFactors[h % 5] + fraction / 64 : 1.0 / 16 + fraction;
  write_element(type, {(h >> 40 & 1) != 0 && !product ? -magnitude : magnitude, 0}, out);
}

}  // namespace tw::test
