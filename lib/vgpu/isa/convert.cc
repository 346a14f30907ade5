// cvt: between integers, between floats, and across; with the roundings and saturations of each.
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "lib/vgpu/isa/decode.h"
#include "lib/vgpu/isa/floats.h"
#include "lib/vgpu/isa/lanes.h"
#include "lib/vgpu/isa/rounding.h"

namespace tw::vgpu {
namespace {

// ---- Integers -------------------------------------------------------------------------------

template <class D>
struct Truncate {
  template <class S>
  D operator()(S value) const {
    return static_cast<D>(value);
  }
};
template <class D>
struct Clamp {
  template <class S>
  D operator()(S value) const {
    using Limits = std::numeric_limits<D>;
    if constexpr (std::is_signed_v<S>) {
      if (std::is_unsigned_v<D> && value < 0) return 0;
      if (std::is_signed_v<D> && static_cast<int64_t>(value) < static_cast<int64_t>(Limits::min()))
        return Limits::min();
      if (value < 0) return static_cast<D>(value);
    }
    return static_cast<uint64_t>(value) > static_cast<uint64_t>(Limits::max())
               ? Limits::max()
               : static_cast<D>(value);
  }
};

/// The low bits of a source may be in a wider register; a destination may be one that the result is
/// extended to, by its sign. Both are the register's type here.
template <class D, class S, class RD, class RS, bool kClamps>
Step convert_integer(Warp& warp, const Op& op) {
  const RS* a = warp.at<RS>(op.a);
  for_lanes(warp, warp.at<RD>(op.d), [=](int lane) {
    const auto value = static_cast<S>(a[lane]);
    D result;
    if constexpr (kClamps)
      result = Clamp<D>()(value);
    else
      result = Truncate<D>()(value);
    return static_cast<RD>(
        static_cast<std::conditional_t<std::is_signed_v<D>, int64_t, uint64_t>>(result));
  });
  return Step::kNext;
}

template <class D, class S, class RD, bool kClamps>
Run by_source(int width) {
  switch (width) {
    case 2:
      if constexpr (sizeof(S) <= 2) return convert_integer<D, S, RD, uint16_t, kClamps>;
      break;
    case 4:
      if constexpr (sizeof(S) <= 4) return convert_integer<D, S, RD, uint32_t, kClamps>;
      break;
    case 8:
      return convert_integer<D, S, RD, uint64_t, kClamps>;
    default:
      break;
  }
  return nullptr;
}

template <class D, class S, bool kClamps>
Run by_registers(int to, int from) {
  switch (to) {
    case 2:
      if constexpr (sizeof(D) <= 2) return by_source<D, S, uint16_t, kClamps>(from);
      break;
    case 4:
      if constexpr (sizeof(D) <= 4) return by_source<D, S, uint32_t, kClamps>(from);
      break;
    case 8:
      return by_source<D, S, uint64_t, kClamps>(from);
    default:
      break;
  }
  return nullptr;
}

template <class D, bool kClamps>
Run from_integer(Type from, int to_width, int from_width) {
  switch (from) {
    case Type::kS8:
      return by_registers<D, int8_t, kClamps>(to_width, from_width);
    case Type::kU8:
      return by_registers<D, uint8_t, kClamps>(to_width, from_width);
    case Type::kS16:
      return by_registers<D, int16_t, kClamps>(to_width, from_width);
    case Type::kU16:
      return by_registers<D, uint16_t, kClamps>(to_width, from_width);
    case Type::kS32:
      return by_registers<D, int32_t, kClamps>(to_width, from_width);
    case Type::kU32:
      return by_registers<D, uint32_t, kClamps>(to_width, from_width);
    case Type::kS64:
      return by_registers<D, int64_t, kClamps>(to_width, from_width);
    case Type::kU64:
      return by_registers<D, uint64_t, kClamps>(to_width, from_width);
    default:
      return nullptr;
  }
}

template <bool kClamps>
Run integer_to_integer(Type to, Type from, int to_width, int from_width) {
  switch (to) {
    case Type::kS8:
      return from_integer<int8_t, kClamps>(from, to_width, from_width);
    case Type::kU8:
      return from_integer<uint8_t, kClamps>(from, to_width, from_width);
    case Type::kS16:
      return from_integer<int16_t, kClamps>(from, to_width, from_width);
    case Type::kU16:
      return from_integer<uint16_t, kClamps>(from, to_width, from_width);
    case Type::kS32:
      return from_integer<int32_t, kClamps>(from, to_width, from_width);
    case Type::kU32:
      return from_integer<uint32_t, kClamps>(from, to_width, from_width);
    case Type::kS64:
      return from_integer<int64_t, kClamps>(from, to_width, from_width);
    case Type::kU64:
      return from_integer<uint64_t, kClamps>(from, to_width, from_width);
    default:
      return nullptr;
  }
}

// ---- Everything else, a lane at a time ------------------------------------------------------

/// A value on its way: floats as double (exact for all formats), integers as they are.
struct Value {
  double real = 0;
  __int128 integer = 0;
  bool is_integer = false;
};

Value read(const Warp& warp, Slot slot, int width, Type type, int lane) {
  uint64_t bits = 0;
  __builtin_memcpy(&bits, warp.at<uint8_t>(slot) + lane * width, static_cast<size_t>(width));
  const auto low = static_cast<uint32_t>(bits);
  switch (type) {
    case Type::kF32:
      return {std::bit_cast<float>(low), 0, false};
    case Type::kF64:
      return {std::bit_cast<double>(bits), 0, false};
    case Type::kF16:
      return {from_half(static_cast<uint16_t>(bits)), 0, false};
    case Type::kBf16:
      return {from_bfloat(static_cast<uint16_t>(bits)), 0, false};
    case Type::kS8:
      return {0, static_cast<int8_t>(bits), true};
    case Type::kU8:
      return {0, static_cast<uint8_t>(bits), true};
    case Type::kS16:
      return {0, static_cast<int16_t>(bits), true};
    case Type::kU16:
      return {0, static_cast<uint16_t>(bits), true};
    case Type::kS32:
      return {0, static_cast<int32_t>(bits), true};
    case Type::kU32:
      return {0, low, true};
    case Type::kS64:
      return {0, static_cast<int64_t>(bits), true};
    default:
      return {0, static_cast<__int128>(bits), true};
  }
}

/// Op::kind: how a float becomes whole.
enum Whole : uint8_t { kNoWhole, kWholeNearest, kWholeZero, kWholeDown, kWholeUp };

double whole(double value, uint8_t kind) {
  switch (kind) {
    case kWholeNearest:
      return std::nearbyint(value);
    case kWholeZero:
      return std::trunc(value);
    case kWholeDown:
      return std::floor(value);
    case kWholeUp:
      return std::ceil(value);
    default:
      return value;
  }
}

/// A whole number into an integer of `type`: what is beyond becomes the nearest, NaN becomes 0.
uint64_t clamp_real(double value, Type type) {
  if (std::isnan(value)) return 0;
  const int bits = 8 * ptx::bytes_of(type);
  const bool is_signed = ptx::kind_of(type) == ptx::Kind::kSigned;
  const double low = is_signed ? -std::ldexp(1.0, bits - 1) : 0;
  const double above = std::ldexp(1.0, is_signed ? bits - 1 : bits);
  if (value <= low) return is_signed ? ~uint64_t{0} << (bits - 1) : 0;
  if (value >= above)
    return (is_signed ? uint64_t{1} << (bits - 1) : bits == 64 ? 0 : uint64_t{1} << bits) - 1;
  return static_cast<uint64_t>(static_cast<__int128>(value));
}

template <class T>
uint64_t real_bits(const Value& value) {
  // The host's rounding mode is the op's.
  const volatile auto result =
      value.is_integer ? static_cast<T>(value.integer) : static_cast<T>(value.real);
  if constexpr (sizeof(T) == 4)
    return std::bit_cast<uint32_t>(canonical(result));
  else
    return std::bit_cast<uint64_t>(static_cast<double>(result));
}

uint64_t converted(const Op& op, Value value, Type to) {
  const auto rounding = static_cast<Rounding>(op.rounding & 3);
  if (!value.is_integer) value.real = whole(value.real, op.kind);
  switch (to) {
    case Type::kF32:
      return real_bits<float>(value);
    case Type::kF64:
      return real_bits<double>(value);
    case Type::kF16:
    case Type::kBf16: {
      const double exact = value.is_integer ? static_cast<double>(value.integer) : value.real;
      return encode(exact, to == Type::kF16 ? kHalf : kBfloat, rounding, false);
    }
    default:
      return clamp_real(value.real, to);
  }
}

/// Types of a general conversion in Op::target: from | to << 8 | widths.
Step convert_general(Warp& warp, const Op& op) {
  const auto from = static_cast<Type>(op.target & 255);
  const auto to = static_cast<Type>(op.target >> 8 & 255);
  const int from_width = op.target >> 16 & 255;
  const int to_width = op.target >> 24 & 255;
  uint8_t* d = warp.at<uint8_t>(op.d);
  TW_VGPU_EACH(lane, warp.active) {
    Value value = read(warp, op.a, from_width, from, lane);
    if ((op.rounding & kFlush) != 0 && from == Type::kF32 && std::fabs(value.real) < 0x1p-126)
      value.real = std::copysign(0.0, value.real);
    uint64_t bits = converted(op, value, to);
    if ((op.rounding & kSaturate) != 0) {
      const double real = to == Type::kF32 ? std::bit_cast<float>(static_cast<uint32_t>(bits))
                                           : std::bit_cast<double>(bits);
      const double bounded = real > 0 ? std::min(real, 1.0) : 0.0;
      bits = to == Type::kF32 ? std::bit_cast<uint32_t>(static_cast<float>(bounded))
                              : std::bit_cast<uint64_t>(bounded);
    }
    __builtin_memcpy(d + lane * to_width, &bits, static_cast<size_t>(to_width));
  }
  return Step::kNext;
}

// ---- The common ones, by vectors ------------------------------------------------------------

struct HalfToFloat {
  float operator()(uint16_t a) const { return from_half(a); }
};
struct FloatToHalf {
  uint16_t operator()(float a) const { return to_half(a); }
};
struct BfloatToFloat {
  float operator()(uint16_t a) const { return from_bfloat(a); }
};
struct FloatToBfloat {
  uint16_t operator()(float a) const { return to_bfloat(a); }
};
struct Same {
  template <class T>
  T operator()(T a) const {
    return a;
  }
};
/// The first source becomes the upper half.
struct FloatsToHalves {
  uint32_t operator()(float a, float b) const { return uint32_t{to_half(a)} << 16 | to_half(b); }
};
struct FloatsToBfloats {
  uint32_t operator()(float a, float b) const {
    return uint32_t{to_bfloat(a)} << 16 | to_bfloat(b);
  }
};

Run fast(Type to, Type from) {
  if (to == Type::kF32 && from == Type::kF16) return map1<HalfToFloat, float, uint16_t>;
  if (to == Type::kF16 && from == Type::kF32) return map1<FloatToHalf, uint16_t, float>;
  if (to == Type::kF32 && from == Type::kBf16) return map1<BfloatToFloat, float, uint16_t>;
  if (to == Type::kBf16 && from == Type::kF32) return map1<FloatToBfloat, uint16_t, float>;
  if (to == Type::kF32 && from == Type::kS32) return map1<Same, float, int32_t>;
  if (to == Type::kF32 && from == Type::kU32) return map1<Same, float, uint32_t>;
  if (to == Type::kF64 && from == Type::kF32) return map1<Same, double, float>;
  return nullptr;
}

const FloatFormat& format_of(Type type) {
  switch (type) {
    case Type::kE4m3x2:
      return kE4m3Format;
    case Type::kE5m2x2:
      return kE5m2Format;
    case Type::kBf16x2:
      return kBfloat;
    default:
      return kHalf;
  }
}

/// Two floats, or two halves, into a pair of a small format. Op::kind: 1 .relu, 2 .satfinite.
Step pack_floats(Warp& warp, const Op& op) {
  const auto to = static_cast<Type>(op.target);
  const FloatFormat& format = format_of(to);
  const int bits = ptx::bytes_of(to) * 4;
  TW_VGPU_EACH(lane, warp.active) {
    double high = 0, low = 0;
    if (op.b == kNoSlot) {
      const uint32_t pair = warp.at<uint32_t>(op.a)[lane];
      high = from_half(static_cast<uint16_t>(pair >> 16));
      low = from_half(static_cast<uint16_t>(pair));
    } else {
      high = warp.at<float>(op.a)[lane];
      low = warp.at<float>(op.b)[lane];
    }
    if ((op.kind & 1) != 0 && !(high > 0) && !std::isnan(high)) high = 0;
    if ((op.kind & 1) != 0 && !(low > 0) && !std::isnan(low)) low = 0;
    const auto rounding = static_cast<Rounding>(op.rounding & 3);
    const bool saturates = (op.kind & 2) != 0;
    const uint32_t packed = encode(high, format, rounding, saturates) << bits |
                            encode(low, format, rounding, saturates);
    if (bits == 16)
      warp.at<uint32_t>(op.d)[lane] = packed;
    else
      warp.at<uint16_t>(op.d)[lane] = static_cast<uint16_t>(packed);
  }
  return Step::kNext;
}

/// A pair of 8-bit floats into a pair of halves. Op::kind: 1 .relu.
Step unpack_floats(Warp& warp, const Op& op) {
  const FloatFormat& format = format_of(static_cast<Type>(op.target));
  TW_VGPU_EACH(lane, warp.active) {
    const uint16_t pair = warp.at<uint16_t>(op.a)[lane];
    uint32_t halves = 0;
    for (int i = 0; i < 2; ++i) {
      double value = decode_float(pair >> (8 * i) & 255, format);
      if (op.kind == 1 && value < 0) value = 0;
      halves |= encode(value, kHalf, Rounding::kNearest, false) << (16 * i);
    }
    warp.at<uint32_t>(op.d)[lane] = halves;
  }
  return Step::kNext;
}

Step to_tf32(Warp& warp, const Op& op) {
  TW_VGPU_EACH(lane, warp.active) {
    // Halfway cases go away from zero (.rna).
    const uint32_t bits = warp.at<uint32_t>(op.a)[lane];
    const bool is_finite = (bits & 0x7f800000) != 0x7f800000;
    warp.at<uint32_t>(op.d)[lane] = is_finite ? (bits + 0x1000) & 0xffffe000 : bits;
  }
  return Step::kNext;
}

bool is_float(Type type) { return ptx::kind_of(type) == ptx::Kind::kFloat; }

void pair(Form& form, Type to, Type from) {
  const bool is_rz = form.take("rz");
  if (!is_rz && !form.take("rn")) form.fail("a rounding must stand here");
  form.op.rounding = is_rz ? 1 : 0;
  form.op.kind =
      static_cast<uint8_t>((form.take("relu") ? 1 : 0) | (form.take("satfinite") ? 2 : 0));
  const int bytes = ptx::bytes_of(to);
  form.op.d = form.out(0, bytes);
  if (from == Type::kE4m3x2 || from == Type::kE5m2x2) {
    if (to != Type::kF16x2) form.fail("8-bit floats become .f16x2 only");
    form.op.a = form.in(1, 2);
    form.op.target = static_cast<int>(from);
    return form.emit(unpack_floats, 2);
  }
  form.op.target = static_cast<int>(to);
  form.op.a = form.in(1, 4);
  if (from == Type::kF16x2) return form.emit(bytes == 2 ? pack_floats : Run{nullptr}, 2);
  if (from != Type::kF32) form.fail("pairs are made of .f32 or .f16x2");
  form.op.b = form.in(2, 4);
  const bool is_plain = form.op.kind == 0 && form.op.rounding == 0;
  const Run run = is_plain && to == Type::kF16x2    ? map2<FloatsToHalves, uint32_t, float, float>
                  : is_plain && to == Type::kBf16x2 ? map2<FloatsToBfloats, uint32_t, float, float>
                                                    : Run{pack_floats};
  form.emit(run, 3);
}

void cvt(Form& form) {
  const Type to = form.type();
  const Type from = form.type();
  if (ptx::bytes_of(from) >= 2 &&
      (to == Type::kF16x2 || to == Type::kBf16x2 || to == Type::kE4m3x2 || to == Type::kE5m2x2))
    return pair(form, to, from);
  int to_width = 0, from_width = 0;
  form.op.d = form.wide(form.operand(0), ptx::bytes_of(to), &to_width);
  form.op.a = form.wide(form.operand(1), ptx::bytes_of(from), &from_width);
  if (to == Type::kTf32) {
    form.take("rna");
    return form.emit(from == Type::kF32 ? to_tf32 : Run{nullptr}, 2);
  }
  const bool saturates = form.take("sat");
  if (!is_float(to) && !is_float(from))
    return form.emit(saturates ? integer_to_integer<true>(to, from, to_width, from_width)
                               : integer_to_integer<false>(to, from, to_width, from_width),
                     2);
  form.op.kind = static_cast<uint8_t>(form.take_one({"", "rni", "rzi", "rmi", "rpi"}, 0));
  form.op.rounding = static_cast<uint8_t>(form.take_one({"rn", "rz", "rm", "rp"}, 0));
  if (form.take("ftz")) form.op.rounding |= kFlush;
  if (!is_float(to) && form.op.kind == kNoWhole) form.fail("a rounding to integer must stand here");
  // Beyond the largest integer saturates with and without .sat.
  if (saturates && is_float(to)) form.op.rounding |= kSaturate;
  if (saturates && is_float(to) && to != Type::kF32 && to != Type::kF64)
    form.fail(".sat is supported for .f32 and .f64");
  form.op.target =
      static_cast<int>(from) | static_cast<int>(to) << 8 | from_width << 16 | to_width << 24;
  const bool is_exact = to_width == ptx::bytes_of(to) && from_width == ptx::bytes_of(from);
  const Run run = is_exact && form.op.kind == 0 && form.op.rounding == 0 ? fast(to, from) : nullptr;
  form.emit(run != nullptr ? run : Run{rounded<convert_general>}, 2);
}

}  // namespace

const Row kConvertRows[] = {{"cvt", cvt}, {}};

}  // namespace tw::vgpu
