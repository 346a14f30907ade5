// Element types as kernels see them: how each is widened for arithmetic and narrowed again.
//
// The formulas are integer and fp32 operations only, written once for a scalar (U = uint32_t,
// F = float) and for the vectors of a CPU target, so every target gives the same bits.
//
// fp16, bf16, fp8_e5m2   IEEE-like: round to nearest even; overflow gives infinity
// fp8_e4m3               no infinity: that and overflow saturate to +-448; round to nearest even
// NaN                    any NaN result of any type is the one quiet NaN with sign 0
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tilewire.h"
#include "tilewire/tile/target.h"

namespace TW_NS {

template <class To, class From>
TW_INLINE To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}

/// `mask ? yes : no`, per lane for vectors.
template <class M, class T>
TW_INLINE T select(M mask, T yes, T no) {
  return mask ? yes : no;
}

/// `value` in every lane.
template <class T, class S>
TW_INLINE T splat(S value) {
  return T{} + value;
}

/// a < b for values below 2^31: signed, which every vector unit can do.
template <class U>
TW_INLINE auto below(U a, U b) {
  if constexpr (std::is_integral_v<U>) {
    return a < b;
  } else {
    using Signed = decltype(a < b);
    return bits_as<Signed>(a) < bits_as<Signed>(b);
  }
}

/// A float of 16 or 8 bits. kInfinity: the code of +infinity, or 0 when the format has none;
/// kMax: the code of the largest finite value.
template <int exponent_bits, int mantissa_bits, int bias, uint32_t infinity, uint32_t max,
          uint32_t nan>
struct SmallFloat {
  static constexpr int kBits = 1 + exponent_bits + mantissa_bits;
  static constexpr int kDrop = 23 - mantissa_bits;  // mantissa bits that fp32 has more
  static constexpr uint32_t kMagnitude = (1u << (kBits - 1)) - 1;
  static constexpr uint32_t kRebias = static_cast<uint32_t>(127 - bias) << 23;
  static constexpr uint32_t kMinNormal = kRebias + (1u << 23);  // as fp32 bits
  static constexpr uint32_t kOverflow = infinity != 0 ? infinity : max;
  static constexpr uint32_t kNan = nan;

  /// Widens the code in the low bits of `code` (bits above are ignored).
  template <class F, class U>
  TW_INLINE static F widen(U code) {
    const U magnitude = code & kMagnitude;
    const U moved = magnitude << kDrop;
    const U normal = moved + kRebias;
    // A subnormal is mantissa * 2^k: exact as the difference of two normal fp32 numbers.
    const U subnormal =
        bits_as<U>(bits_as<F>(moved + kMinNormal) - bits_as<F>(splat<U>(kMinNormal)));
    U wide = select(below(moved, splat<U>(1u << 23)), subnormal, normal);
    if constexpr (infinity != 0) {
      wide = select(magnitude == infinity, splat<U>(0x7f800000u), wide);
      wide = select(below(splat<U>(infinity), magnitude), splat<U>(0x7fc00000u), wide);
    } else {
      wide = select(magnitude == nan, splat<U>(0x7fc00000u), wide);
    }
    return bits_as<F>(wide | ((code << (32 - kBits)) & 0x80000000u));
  }

  /// Rounds to nearest even. The code is in the low bits of the result, the rest is 0.
  template <class F, class U>
  TW_INLINE static U narrow(F value) {
    const U bits = bits_as<U>(value);
    const U magnitude = bits & 0x7fffffffu;
    U normal = magnitude + (((magnitude >> kDrop) & 1u) + ((1u << (kDrop - 1)) - 1));
    normal = (normal - kRebias) >> kDrop;
    // Adding a power of two whose last place is the format's smallest step rounds in hardware.
    constexpr uint32_t kStep = kRebias + (static_cast<uint32_t>(kDrop + 1) << 23);
    const U subnormal = bits_as<U>(bits_as<F>(magnitude) + bits_as<F>(splat<U>(kStep))) - kStep;
    U code = select(below(magnitude, splat<U>(kMinNormal)), subnormal, normal);
    code = select(below(splat<U>(kOverflow), code), splat<U>(kOverflow), code);
    code = code | ((bits >> (32 - kBits)) & (1u << (kBits - 1)));
    return select(value != value, splat<U>(nan), code);
  }
};

using Fp16 = SmallFloat<5, 10, 15, 0x7c00, 0x7bff, 0x7e00>;
using Fp8E4m3 = SmallFloat<4, 3, 7, 0, 0x7e, 0x7f>;
using Fp8E5m2 = SmallFloat<5, 2, 15, 0x7c, 0x7b, 0x7e>;

/// The upper half of an fp32.
struct Bf16 {
  static constexpr int kBits = 16;
  template <class F, class U>
  TW_INLINE static F widen(U code) {
    return bits_as<F>(code << 16);
  }
  /// The code in the upper half of the result; the lower half is arbitrary.
  template <class F, class U>
  TW_INLINE static U narrow_high(F value) {
    const U bits = bits_as<U>(value);
    const U rounded = bits + (((bits >> 16) & 1u) + 0x7fffu);
    return select(value != value, splat<U>(0x7fc00000u), rounded);
  }
  template <class F, class U>
  TW_INLINE static U narrow(F value) {
    return narrow_high<F, U>(value) >> 16;
  }
};

}  // namespace TW_NS
