// Floating-point arithmetic: f32 and f64 as IEEE with PTX's rounding modes, ftz and sat; the 16-bit
// formats, alone and in pairs, exactly and rounded once. Approximations are computed in double and
// rounded: within the documented error, and not the chip's bits.
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

#include "lib/vgpu/isa/arithmetic.h"
#include "lib/vgpu/isa/decode.h"
#include "lib/vgpu/isa/floats.h"
#include "lib/vgpu/isa/lanes.h"
#include "lib/vgpu/isa/rounding.h"

namespace tw::vgpu {
namespace {

struct Add {
  template <class T>
  T operator()(T a, T b) const {
    return a + b;
  }
};
struct Subtract {
  template <class T>
  T operator()(T a, T b) const {
    return a - b;
  }
};
struct Multiply {
  template <class T>
  T operator()(T a, T b) const {
    return a * b;
  }
};
struct Divide {
  template <class T>
  T operator()(T a, T b) const {
    return a / b;
  }
};
struct Fma {
  float operator()(float a, float b, float c) const { return __builtin_fmaf(a, b, c); }
  double operator()(double a, double b, double c) const { return __builtin_fma(a, b, c); }
};
// A NaN gives way to a number; -0 is less than +0.
struct Minimum {
  template <class T>
  T operator()(T a, T b) const {
    const T less = a < b || (a == b && std::signbit(a)) ? a : b;
    return a != a ? b : b != b ? a : less;
  }
};
struct Maximum {
  template <class T>
  T operator()(T a, T b) const {
    const T more = a > b || (a == b && !std::signbit(a)) ? a : b;
    return a != a ? b : b != b ? a : more;
  }
};
template <class F>
struct PropagateNan {
  template <class T>
  T operator()(T a, T b) const {
    return a != a || b != b ? std::numeric_limits<T>::quiet_NaN() : F()(a, b);
  }
};
struct Absolute {
  template <class T>
  T operator()(T a) const {
    return std::fabs(a);
  }
};
struct Negate {
  template <class T>
  T operator()(T a) const {
    return -a;
  }
};
struct SquareRoot {
  template <class T>
  T operator()(T a) const {
    return std::sqrt(a);
  }
};
struct Reciprocal {
  template <class T>
  T operator()(T a) const {
    return T{1} / a;
  }
};
struct ReciprocalRoot {
  template <class T>
  T operator()(T a) const {
    return static_cast<T>(1.0 / std::sqrt(static_cast<double>(a)));
  }
};
struct Sine {
  float operator()(float a) const { return static_cast<float>(std::sin(static_cast<double>(a))); }
};
struct Cosine {
  float operator()(float a) const { return static_cast<float>(std::cos(static_cast<double>(a))); }
};
struct Exponential2 {
  float operator()(float a) const { return static_cast<float>(std::exp2(static_cast<double>(a))); }
};
struct Logarithm2 {
  float operator()(float a) const { return static_cast<float>(std::log2(static_cast<double>(a))); }
};
struct Tangent {
  float operator()(float a) const { return static_cast<float>(std::tanh(static_cast<double>(a))); }
};
/// The magnitude of b with the sign of a.
struct CopySign {
  template <class T>
  T operator()(T a, T b) const {
    return std::copysign(b, a);
  }
};

/// F with subnormal numbers taken and given as zeros, where no arithmetic would do it.
template <class F>
struct Flushed {
  static float flush(float value) {
    const auto bits = std::bit_cast<uint32_t>(value);
    return std::bit_cast<float>((bits & 0x7f800000) != 0 ? bits : bits & 0x80000000);
  }
  template <class... A>
  float operator()(A... a) const {
    return flush(F()(flush(a)...));
  }
};

/// F with f32's canonical NaN.
template <class F>
struct Canonical {
  template <class... A>
  auto operator()(A... a) const {
    const auto result = F()(a...);
    if constexpr (std::is_same_v<decltype(result), const float>)
      return canonical(result);
    else
      return result;
  }
};

/// F for a 16-bit format, computed in double and rounded once (fma: the sum is rounded to double
/// first, which may differ from one rounding where terms are 2^29 apart and tie).
template <class F, bool kIsHalf>
struct Small {
  static double wide(uint16_t bits) { return kIsHalf ? from_half(bits) : from_bfloat(bits); }
  template <class... A>
  uint16_t operator()(A... a) const {
    return static_cast<uint16_t>(encode(F()(wide(static_cast<uint16_t>(a))...),
                                        kIsHalf ? kHalf : kBfloat, Rounding::kNearest, false));
  }
};
/// For both halves of a pair.
template <class F>
struct Pair {
  template <class... A>
  uint32_t operator()(A... a) const {
    return static_cast<uint32_t>(F()(static_cast<uint16_t>(a >> 16)...)) << 16 |
           F()(static_cast<uint16_t>(a)...);
  }
};
/// Signs are bits: no rounding, no canonical NaN.
template <uint32_t kAnd, uint32_t kXor>
struct SignBits {
  template <class T>
  T operator()(T a) const {
    return static_cast<T>((a & static_cast<T>(kAnd)) ^ static_cast<T>(kXor));
  }
};

Step saturate_lanes(Warp& warp, const Op& op) {
  auto* d = warp.at<float>(op.d);
  for_lanes(warp, d, [=](int lane) {
    const float value = d[lane];
    return value > 0 ? (value < 1 ? value : 1.0f) : 0.0f;
  });
  return Step::kNext;
}

template <Run kRun>
Step moded(Warp& warp, const Op& op) {
  run_rounded(kRun, warp, op);
  if ((op.rounding & kSaturate) != 0) saturate_lanes(warp, op);
  return Step::kNext;
}

template <class F, int kSources, class T>
Run map_float(uint8_t rounding) {
  constexpr Run kRun = map_same<Canonical<F>, kSources, T>();
  return rounding == 0 ? kRun : Run{moded<kRun>};
}

template <class F, int kSources>
Run map_floats(Type type, uint8_t rounding) {
  switch (type) {
    case Type::kF32:
      return map_float<F, kSources, float>(rounding);
    case Type::kF64:
      return map_float<F, kSources, double>(rounding);
    default:
      break;
  }
  // Subnormals of the 16-bit formats are flushed only where f16 says .ftz, which is refused.
  if (rounding != 0) return nullptr;
  switch (type) {
    case Type::kF16:
      return map_same<Small<F, true>, kSources, uint16_t>();
    case Type::kBf16:
      return map_same<Small<F, false>, kSources, uint16_t>();
    case Type::kF16x2:
      return map_same<Pair<Small<F, true>>, kSources, uint32_t>();
    case Type::kBf16x2:
      return map_same<Pair<Small<F, false>>, kSources, uint32_t>();
    default:
      return nullptr;
  }
}

uint8_t take_mode(Form& form) {
  auto mode = static_cast<uint8_t>(form.take_one({"rn", "rz", "rm", "rp"}, 0));
  if (form.take("ftz")) mode |= kFlush;
  if (form.take("sat")) mode |= kSaturate;
  return mode;
}

void sources(Form& form, Type type, size_t count) {
  form.op.d = form.out(0, ptx::bytes_of(type));
  Slot* slots[] = {&form.op.a, &form.op.b, &form.op.c};
  for (size_t i = 0; i < count; ++i) *slots[i] = form.in(i + 1, type);
}

template <class F, int kSources>
void emit_float(Form& form, Type type) {
  const uint8_t mode = take_mode(form);
  if ((mode & kSaturate) != 0 && type != Type::kF32) form.fail(".sat is supported for .f32");
  form.op.rounding = mode;
  sources(form, type, kSources);
  form.emit(map_floats<F, kSources>(type, mode), kSources + 1);
}

void sign(Form& form, Type type) {
  const bool is_abs = form.mnemonic() == "abs";
  if (form.take("ftz")) {
    sources(form, type, 1);
    return form.emit(type != Type::kF32 ? nullptr
                     : is_abs           ? map_float<Flushed<Absolute>, 1, float>(0)
                                        : map_float<Flushed<Negate>, 1, float>(0),
                     2);
  }
  sources(form, type, 1);
  Run run = nullptr;
  if (type == Type::kF32) run = is_abs ? map1<Absolute, float, float> : map1<Negate, float, float>;
  if (type == Type::kF64)
    run = is_abs ? map1<Absolute, double, double> : map1<Negate, double, double>;
  if (type == Type::kF16 || type == Type::kBf16)
    run = is_abs ? map1<SignBits<0x7fff, 0>, uint16_t, uint16_t>
                 : map1<SignBits<0xffff, 0x8000>, uint16_t, uint16_t>;
  if (type == Type::kF16x2 || type == Type::kBf16x2)
    run = is_abs ? map1<SignBits<0x7fff7fff, 0>, uint32_t, uint32_t>
                 : map1<SignBits<0xffffffff, 0x80008000>, uint32_t, uint32_t>;
  form.emit(run, 2);
}

template <class F>
void extremum(Form& form, Type type) {
  const bool flushes = form.take("ftz");
  const bool propagates = form.take("NaN");
  if (!flushes)
    return propagates ? emit_float<PropagateNan<F>, 2>(form, type) : emit_float<F, 2>(form, type);
  sources(form, type, 2);
  form.emit(type != Type::kF32 ? nullptr
            : propagates       ? map_float<Flushed<PropagateNan<F>>, 2, float>(0)
                               : map_float<Flushed<F>, 2, float>(0),
            3);
}

/// div, rcp, sqrt, with .approx and .full beside the rounded forms.
void take_approximate(Form& form) {
  if (!form.take("approx")) form.take("full");
}

template <class F>
void unary(Form& form) {
  const Type type = form.type();
  take_approximate(form);
  emit_float<F, 1>(form, type);
}

/// Approximations that exist for f32 (and, by pairs of halves, f16).
template <class F>
void approximate(Form& form) {
  form.take("approx");
  const Type type = form.type();
  const uint8_t mode = take_mode(form);
  form.op.rounding = mode;
  sources(form, type, 1);
  form.emit(type == Type::kF32 ? map_float<F, 1, float>(mode) : nullptr, 2);
}

void copy_sign(Form& form) {
  const Type type = form.type();
  sources(form, type, 2);
  form.emit(type == Type::kF32   ? map2<CopySign, float, float, float>
            : type == Type::kF64 ? Run{map2<CopySign, double, double, double>}
                                 : nullptr,
            3);
}

}  // namespace

void float_arithmetic(Form& form, Type type) {
  const std::string_view name = form.mnemonic();
  if (name == "add") return emit_float<Add, 2>(form, type);
  if (name == "sub") return emit_float<Subtract, 2>(form, type);
  if (name == "mul") return emit_float<Multiply, 2>(form, type);
  if (name == "fma" || name == "mad") return emit_float<Fma, 3>(form, type);
  if (name == "min") return extremum<Minimum>(form, type);
  if (name == "max") return extremum<Maximum>(form, type);
  if (name == "abs" || name == "neg") return sign(form, type);
  if (name == "div") {
    take_approximate(form);
    return emit_float<Divide, 2>(form, type);
  }
  form.fail("this instruction does not exist for floats");
}

const Row kFloatRows[] = {{"sqrt", unary<SquareRoot>},      {"rcp", unary<Reciprocal>},
                          {"rsqrt", unary<ReciprocalRoot>}, {"sin", approximate<Sine>},
                          {"cos", approximate<Cosine>},     {"ex2", approximate<Exponential2>},
                          {"lg2", approximate<Logarithm2>}, {"tanh", approximate<Tangent>},
                          {"copysign", copy_sign},          {}};

}  // namespace tw::vgpu
