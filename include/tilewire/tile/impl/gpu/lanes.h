// A unit of elements in one thread, 16 bytes or 8 of 8-bit types: widened for arithmetic, combined,
// narrowed again. The type and op are run-time values, equal in all threads, so each step is a
// uniform branch: a kernel that reduces holds one loop, not one for every type and op.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire.h"
#include "tilewire/tile/impl/gpu/ptx/convert.h"
#include "tilewire/tile/types.h"

namespace TW_NS {

/// A unit as it lies in memory; of 8-bit types only the first 8 bytes.
struct Raw {
  uint32_t w[4];
};

TW_FN uint64_t pair(uint32_t low, uint32_t high) { return static_cast<uint64_t>(high) << 32 | low; }
TW_FN uint32_t low_word(uint64_t x) { return static_cast<uint32_t>(x); }
TW_FN uint32_t high_word(uint64_t x) { return static_cast<uint32_t>(x >> 32); }

/// What the accumulators of a type are.
enum class Kind : int {
  kFloat,   // 4 or 8 fp32
  kByte,    // 8 int32, for 8-bit integers
  kLong,    // 4 or 2 int64, for the other integers
  kDouble,  // 2 fp64
};

TW_FN bool is_byte(tw_type_t type) {
  return type == TW_INT8 || type == TW_UINT8 || type == TW_FP8_E4M3 || type == TW_FP8_E5M2;
}

TW_FN Kind kind_of(tw_type_t type) {
  switch (type) {
    case TW_INT8:
    case TW_UINT8:
      return Kind::kByte;
    case TW_INT32:
    case TW_UINT32:
    case TW_INT64:
    case TW_UINT64:
      return Kind::kLong;
    case TW_FP64:
      return Kind::kDouble;
    default:
      return Kind::kFloat;
  }
}

/// How one call computes.
struct Arithmetic {
  tw_type_t type;
  tw_op_t op;
  Kind kind;
  TW_FN Arithmetic(tw_type_t type, tw_op_t op) : type(type), op(op), kind(kind_of(type)) {}
};

/// The accumulators of a unit. Indices are constants everywhere: an array that is indexed at
/// run time would lie in local memory.
struct Lanes {
  uint32_t v[8];

  TW_FN float f(int i) const { return __uint_as_float(v[i]); }
  TW_FN void set_f(int i, float x) { v[i] = __float_as_uint(x); }
  TW_FN uint64_t q(int i) const { return pair(v[2 * i], v[2 * i + 1]); }
  TW_FN void set_q(int i, uint64_t x) {
    v[2 * i] = low_word(x);
    v[2 * i + 1] = high_word(x);
  }
  TW_FN double d(int i) const { return bits_as<double>(q(i)); }
  TW_FN void set_d(int i, double x) { set_q(i, bits_as<uint64_t>(x)); }

  /// Moves lanes down by `by` words; the first go to the end.
  template <int by>
  TW_FN void rotate() {
    uint32_t first[by];
#pragma unroll
    for (int i = 0; i < by; ++i) first[i] = v[i];
#pragma unroll
    for (int i = 0; i < 8 - by; ++i) v[i] = v[i + by];
#pragma unroll
    for (int i = 0; i < by; ++i) v[8 - by + i] = first[i];
  }
};

// ---- Widen ----

TW_FN void widen_halves(uint32_t two, Lanes& to, int i) {
  to.set_f(i, ptx::float_of_fp16(two));
  to.set_f(i + 1, ptx::float_of_fp16(two >> 16));
}

/// An fp8_e5m2 is the upper byte of an fp16.
TW_FN uint32_t fp16x2_of_e5m2x2(uint32_t codes) { return __byte_perm(codes, 0, 0x1404); }

TW_FN Lanes widen(tw_type_t type, const Raw& raw) {
  Lanes to = {};
  switch (type) {
    case TW_INT8:
#pragma unroll
      for (int i = 0; i < 8; ++i)
        to.v[i] =
            static_cast<uint32_t>(static_cast<int32_t>(raw.w[i / 4] << (24 - i % 4 * 8)) >> 24);
      break;
    case TW_UINT8:
#pragma unroll
      for (int i = 0; i < 8; ++i) to.v[i] = raw.w[i / 4] >> (i % 4 * 8) & 0xff;
      break;
    case TW_INT32:
#pragma unroll
      for (int i = 0; i < 4; ++i)
        to.set_q(i, static_cast<uint64_t>(int64_t{static_cast<int32_t>(raw.w[i])}));
      break;
    case TW_UINT32:
#pragma unroll
      for (int i = 0; i < 4; ++i) to.set_q(i, raw.w[i]);
      break;
    case TW_FP16:
#pragma unroll
      for (int i = 0; i < 4; ++i) widen_halves(raw.w[i], to, 2 * i);
      break;
    case TW_BF16:
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        to.v[2 * i] = raw.w[i] << 16;
        to.v[2 * i + 1] = raw.w[i] & 0xffff0000u;
      }
      break;
    case TW_FP8_E4M3:
#pragma unroll
      for (int i = 0; i < 4; ++i)
        widen_halves(ptx::fp16x2_of_e4m3x2(raw.w[i / 2] >> (i % 2 * 16)), to, 2 * i);
      break;
    case TW_FP8_E5M2:
#pragma unroll
      for (int i = 0; i < 4; ++i)
        widen_halves(fp16x2_of_e5m2x2(raw.w[i / 2] >> (i % 2 * 16)), to, 2 * i);
      break;
    default:  // as they are: fp32, fp64, 64-bit integers
#pragma unroll
      for (int i = 0; i < 4; ++i) to.v[i] = raw.w[i];
      break;
  }
  return to;
}

// ---- Narrow: one rounding; any NaN becomes the one quiet NaN (tile/types.h) ----

TW_FN uint32_t narrow_fp16(float x) { return x != x ? Fp16::kNan : ptx::fp16_of(x); }
TW_FN uint32_t narrow_bf16(float x) { return x != x ? 0x7fc0u : ptx::bf16_of(x); }
TW_FN uint32_t narrow_e4m3x2(float low, float high) {
  const float nan = __uint_as_float(0x7fc00000u);
  return ptx::e4m3x2_of(low != low ? nan : low, high != high ? nan : high);
}
/// The hardware's conversion saturates where this format has an infinity.
TW_FN uint32_t narrow_e5m2(float x) { return Fp8E5m2::narrow<float, uint32_t>(x); }

TW_FN Raw narrow(tw_type_t type, const Lanes& from) {
  Raw raw = {};
  switch (type) {
    case TW_INT8:
    case TW_UINT8:
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint32_t low = __byte_perm(from.v[4 * i], from.v[4 * i + 1], 0x0040);
        const uint32_t high = __byte_perm(from.v[4 * i + 2], from.v[4 * i + 3], 0x0040);
        raw.w[i] = __byte_perm(low, high, 0x5410);
      }
      break;
    case TW_INT32:
    case TW_UINT32:
#pragma unroll
      for (int i = 0; i < 4; ++i) raw.w[i] = from.v[2 * i];
      break;
    case TW_FP16:
#pragma unroll
      for (int i = 0; i < 4; ++i)
        raw.w[i] = narrow_fp16(from.f(2 * i)) | narrow_fp16(from.f(2 * i + 1)) << 16;
      break;
    case TW_BF16:
#pragma unroll
      for (int i = 0; i < 4; ++i)
        raw.w[i] = narrow_bf16(from.f(2 * i)) | narrow_bf16(from.f(2 * i + 1)) << 16;
      break;
    case TW_FP8_E4M3:
#pragma unroll
      for (int i = 0; i < 2; ++i)
        raw.w[i] = narrow_e4m3x2(from.f(4 * i), from.f(4 * i + 1)) |
                   narrow_e4m3x2(from.f(4 * i + 2), from.f(4 * i + 3)) << 16;
      break;
    case TW_FP8_E5M2:
#pragma unroll
      for (int i = 0; i < 8; ++i) raw.w[i / 4] |= narrow_e5m2(from.f(i)) << (i % 4 * 8);
      break;
    case TW_FP32:
#pragma unroll
      for (int i = 0; i < 4; ++i) raw.w[i] = from.f(i) != from.f(i) ? 0x7fc00000u : from.v[i];
      break;
    case TW_FP64:
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const bool nan = from.d(i) != from.d(i);
        raw.w[2 * i] = nan ? 0 : from.v[2 * i];
        raw.w[2 * i + 1] = nan ? 0x7ff80000u : from.v[2 * i + 1];
      }
      break;
    default:
#pragma unroll
      for (int i = 0; i < 4; ++i) raw.w[i] = from.v[i];
      break;
  }
  return raw;
}

// ---- Combine: as the CPU's Sum, Prod, Min, Max (impl/cpu/reduce_loops.h). The intrinsics keep the
// compiler from fusing a multiplication with an addition. ----

/// Calls each(i) for the accumulators in use.
template <class Each>
TW_FN void for_words(const Arithmetic& how, Each each) {
#pragma unroll
  for (int i = 0; i < 4; ++i) each(i);
  if (how.type == TW_FP32) return;
#pragma unroll
  for (int i = 4; i < 8; ++i) each(i);
}

TW_FN void combine_floats(const Arithmetic& how, Lanes& a, const Lanes& b) {
  switch (how.op) {
    case TW_PROD:
      return for_words(how, [&](int i) { a.set_f(i, __fmul_rn(a.f(i), b.f(i))); });
    case TW_MIN:
      return for_words(how, [&](int i) {
        const bool other = b.f(i) < a.f(i) || a.f(i) != a.f(i);
        a.v[i] = other ? b.v[i] : a.v[i];
      });
    case TW_MAX:
      return for_words(how, [&](int i) {
        const bool other = b.f(i) > a.f(i) || a.f(i) != a.f(i);
        a.v[i] = other ? b.v[i] : a.v[i];
      });
    default:
      return for_words(how, [&](int i) { a.set_f(i, __fadd_rn(a.f(i), b.f(i))); });
  }
}

TW_FN void combine_bytes(const Arithmetic& how, Lanes& a, const Lanes& b) {
  const auto each = [&](auto combined) {
#pragma unroll
    for (int i = 0; i < 8; ++i)
      a.v[i] = static_cast<uint32_t>(
          combined(static_cast<int32_t>(a.v[i]), static_cast<int32_t>(b.v[i])));
  };
  switch (how.op) {
    case TW_PROD:  // wraps: taken modulo 256 in the end
      return each([](int32_t x, int32_t y) {
        return static_cast<int32_t>(static_cast<uint32_t>(x) * static_cast<uint32_t>(y));
      });
    case TW_MIN:
      return each([](int32_t x, int32_t y) { return y < x ? y : x; });
    case TW_MAX:
      return each([](int32_t x, int32_t y) { return y > x ? y : x; });
    default:
      return each([](int32_t x, int32_t y) { return x + y; });
  }
}

TW_FN void combine_longs(const Arithmetic& how, Lanes& a, const Lanes& b) {
  // Of the types only uint64 does not fit int64; its order is that of int64 with the top bit
  // flipped.
  const uint64_t flip = how.type == TW_UINT64 ? uint64_t{1} << 63 : 0;
  const auto less = [&](uint64_t x, uint64_t y) {
    return static_cast<int64_t>(x ^ flip) < static_cast<int64_t>(y ^ flip);
  };
  const auto each = [&](auto combined) {
#pragma unroll
    for (int i = 0; i < 4; ++i) a.set_q(i, combined(a.q(i), b.q(i)));
  };
  switch (how.op) {
    case TW_PROD:
      return each([](uint64_t x, uint64_t y) { return x * y; });
    case TW_MIN:
      return each([&](uint64_t x, uint64_t y) { return less(y, x) ? y : x; });
    case TW_MAX:
      return each([&](uint64_t x, uint64_t y) { return less(x, y) ? y : x; });
    default:
      return each([](uint64_t x, uint64_t y) { return x + y; });
  }
}

TW_FN void combine_doubles(const Arithmetic& how, Lanes& a, const Lanes& b) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const double x = a.d(i);
    const double y = b.d(i);
    switch (how.op) {
      case TW_PROD:
        a.set_d(i, __dmul_rn(x, y));
        break;
      case TW_MIN:
        a.set_d(i, y < x || x != x ? y : x);
        break;
      case TW_MAX:
        a.set_d(i, y > x || x != x ? y : x);
        break;
      default:
        a.set_d(i, __dadd_rn(x, y));
        break;
    }
  }
}

/// a = a op b.
TW_FN void combine(const Arithmetic& how, Lanes& a, const Lanes& b) {
  switch (how.kind) {
    case Kind::kByte:
      return combine_bytes(how, a, b);
    case Kind::kLong:
      return combine_longs(how, a, b);
    case Kind::kDouble:
      return combine_doubles(how, a, b);
    default:
      return combine_floats(how, a, b);
  }
}

/// Multiplies every lane by the first lane(s) of `by`, given as its first 8 bytes.
TW_FN void multiply(const Arithmetic& how, Lanes& a, uint64_t by) {
  switch (how.kind) {
    case Kind::kByte:
#pragma unroll
      for (int i = 0; i < 8; ++i) a.v[i] *= low_word(by);
      return;
    case Kind::kLong:
#pragma unroll
      for (int i = 0; i < 4; ++i) a.set_q(i, a.q(i) * by);
      return;
    case Kind::kDouble:
#pragma unroll
      for (int i = 0; i < 2; ++i) a.set_d(i, __dmul_rn(a.d(i), bits_as<double>(by)));
      return;
    default:
      return for_words(
          how, [&](int i) { a.set_f(i, __fmul_rn(a.f(i), __uint_as_float(low_word(by)))); });
  }
}

/// Divides every lane: floats with one rounding, integers towards zero. A division is a long piece
/// of code, so the lanes pass by it one at a time.
TW_FN void divide(const Arithmetic& how, Lanes& a, int by) {
  const bool power_of_two = (by & (by - 1)) == 0;
  if (how.kind == Kind::kFloat) {
    if (power_of_two) {
      const float inverse = __frcp_rn(static_cast<float>(by));
      return for_words(how, [&](int i) { a.set_f(i, __fmul_rn(a.f(i), inverse)); });
    }
#pragma unroll 1
    for (int i = 0; i < 8; ++i) {
      a.set_f(0, __fdiv_rn(a.f(0), static_cast<float>(by)));
      a.rotate<1>();
    }
  } else if (how.kind == Kind::kByte) {
#pragma unroll 1
    for (int i = 0; i < 8; ++i) {
      a.v[0] = static_cast<uint32_t>(static_cast<int32_t>(a.v[0]) / by);
      a.rotate<1>();
    }
  } else if (how.kind == Kind::kLong) {
#pragma unroll 1
    for (int i = 0; i < 4; ++i) {
      const bool negative = how.type != TW_UINT64 && static_cast<int64_t>(a.q(0)) < 0;
      const uint64_t magnitude = negative ? uint64_t{0} - a.q(0) : a.q(0);
      const uint64_t quotient = magnitude / static_cast<uint32_t>(by);
      a.set_q(0, negative ? uint64_t{0} - quotient : quotient);
      a.rotate<2>();
    }
  } else {
#pragma unroll 1
    for (int i = 0; i < 4; ++i) {
      a.set_d(0, __ddiv_rn(a.d(0), static_cast<double>(by)));
      a.rotate<2>();
    }
  }
}

}  // namespace TW_NS
