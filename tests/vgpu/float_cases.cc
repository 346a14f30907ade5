// Floats. Single and double precision are the host's IEEE arithmetic in the same rounding mode;
// small formats are worked out by search over all values of the format.
#include <cfenv>
#include <limits>

#include "tests/vgpu/cases.h"

namespace tw::test {
namespace {

/// The host's result in another rounding mode.
template <int kMode, class F>
auto in_mode(F f) {
  const int before = std::fegetround();
  std::fesetround(kMode);
  const volatile auto result = f();
  std::fesetround(before);
  return std::remove_cv_t<decltype(result)>{result};
}

float flushed(float value) {
  return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0f, value) : value;
}

template <class T>
T smaller(T a, T b) {
  if (std::isnan(a)) return b;
  if (std::isnan(b)) return a;
  if (a == b) return std::signbit(a) ? a : b;
  return a < b ? a : b;
}
template <class T>
T larger(T a, T b) {
  if (std::isnan(a)) return b;
  if (std::isnan(b)) return a;
  if (a == b) return std::signbit(a) ? b : a;
  return a > b ? a : b;
}

template <class T>
void add_common(std::vector<Case>* cases, const std::string& t) {
  const auto add = [&](const std::string& name, const char* operands, auto function) {
    cases->push_back(make_case((name + "." + t + operands).c_str(), +function));
  };
  add("add.rn", " $d, $a, $b;", [](T a, T b) { return static_cast<T>(a + b); });
  add("add", " $d, $a, $b;", [](T a, T b) { return static_cast<T>(a + b); });
  add("sub.rn", " $d, $a, $b;", [](T a, T b) { return static_cast<T>(a - b); });
  add("mul.rn", " $d, $a, $b;", [](T a, T b) { return static_cast<T>(a * b); });
  add("div.rn", " $d, $a, $b;", [](T a, T b) { return static_cast<T>(a / b); });
  add("rcp.rn", " $d, $a;", [](T a) { return static_cast<T>(1 / a); });
  add("sqrt.rn", " $d, $a;", [](T a) { return std::sqrt(a); });
  add("fma.rn", " $d, $a, $b, $c;", [](T a, T b, T c) { return std::fma(a, b, c); });
  add("min", " $d, $a, $b;", [](T a, T b) { return smaller(a, b); });
  add("max", " $d, $a, $b;", [](T a, T b) { return larger(a, b); });
  add("abs", " $d, $a;", [](T a) { return std::fabs(a); });
  add("neg", " $d, $a;", [](T a) { return -a; });
  add("copysign", " $d, $a, $b;", [](T a, T b) { return std::copysign(b, a); });
  add("add.rz", " $d, $a, $b;",
      [](T a, T b) { return in_mode<FE_TOWARDZERO>([=] { return a + b; }); });
  add("add.rm", " $d, $a, $b;",
      [](T a, T b) { return in_mode<FE_DOWNWARD>([=] { return a + b; }); });
  add("add.rp", " $d, $a, $b;", [](T a, T b) { return in_mode<FE_UPWARD>([=] { return a + b; }); });
  add("mul.rz", " $d, $a, $b;",
      [](T a, T b) { return in_mode<FE_TOWARDZERO>([=] { return a * b; }); });
  add("mul.rp", " $d, $a, $b;", [](T a, T b) { return in_mode<FE_UPWARD>([=] { return a * b; }); });
  add("div.rm", " $d, $a, $b;",
      [](T a, T b) { return in_mode<FE_DOWNWARD>([=] { return a / b; }); });
  add("sqrt.rz", " $d, $a;",
      [](T a) { return in_mode<FE_TOWARDZERO>([=] { return std::sqrt(a); }); });
  add("fma.rm", " $d, $a, $b, $c;",
      [](T a, T b, T c) { return in_mode<FE_DOWNWARD>([=] { return std::fma(a, b, c); }); });
}

double value_of(Half a) {
  const int exponent = a.bits >> 10 & 31, mantissa = a.bits & 1023;
  const double magnitude = exponent == 31  ? (mantissa != 0 ? std::nan("") : HUGE_VAL)
                           : exponent == 0 ? std::ldexp(mantissa, -24)
                                           : std::ldexp(1024 + mantissa, exponent - 25);
  return a.bits >> 15 != 0 ? -magnitude : magnitude;
}
double value_of(Bfloat a) {
  const uint32_t bits = uint32_t{a.bits} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// The nearest number of the format, by bisection over its (ordered) magnitudes; ties to even.
template <class T>
T nearest(double value) {
  T result{};
  if (std::isnan(value)) {
    result.bits = 0x7fff;
    return result;
  }
  constexpr bool kIsHalf = std::is_same_v<T, Half>;
  const uint16_t infinity = kIsHalf ? 0x7c00 : 0x7f80;
  const double magnitude = std::fabs(value);
  uint16_t low = 0, high = infinity;
  while (high - low > 1) {
    const auto middle = static_cast<uint16_t>((low + high) / 2);
    if (value_of(T{middle}) <= magnitude)
      low = middle;
    else
      high = middle;
  }
  // Beyond the largest number the next one would be twice the top power of two.
  const double above = high == infinity ? (kIsHalf ? 65536.0 : 0x1p128) : value_of(T{high});
  const double to_low = magnitude - value_of(T{low}), to_high = above - magnitude;
  const bool takes_high =
      std::isinf(magnitude) || to_high < to_low || (to_high == to_low && (low & 1) != 0);
  result.bits =
      static_cast<uint16_t>((takes_high ? high : low) | (std::signbit(value) ? 0x8000 : 0));
  return result;
}

template <class P, class T, class F>
P by_halves(P a, P b, F f) {
  const T high = f(T{static_cast<uint16_t>(a.bits >> 16)}, T{static_cast<uint16_t>(b.bits >> 16)});
  const T low = f(T{static_cast<uint16_t>(a.bits)}, T{static_cast<uint16_t>(b.bits)});
  return {static_cast<uint32_t>(high.bits) << 16 | low.bits};
}

template <class T>
T small_sum(T a, T b) {
  return nearest<T>(value_of(a) + value_of(b));
}
template <class T>
T small_product(T a, T b) {
  return nearest<T>(value_of(a) * value_of(b));
}
template <class T>
T small_minimum(T a, T b) {
  return nearest<T>(smaller(value_of(a), value_of(b)));
}

template <class T, class P>
void add_small(std::vector<Case>* cases, const std::string& t) {
  const auto add = [&](const std::string& name, const char* operands, auto function) {
    cases->push_back(make_case((name + operands).c_str(), +function));
  };
  const char* three = " $d, $a, $b;";
  add("add.rn." + t, three, [](T a, T b) { return small_sum(a, b); });
  add("mul.rn." + t, three, [](T a, T b) { return small_product(a, b); });
  add("min." + t, three, [](T a, T b) { return small_minimum(a, b); });
  add("add.rn." + t + "x2", three, [](P a, P b) { return by_halves<P, T>(a, b, small_sum<T>); });
  add("mul.rn." + t + "x2", three,
      [](P a, P b) { return by_halves<P, T>(a, b, small_product<T>); });
  add("min." + t + "x2", three, [](P a, P b) { return by_halves<P, T>(a, b, small_minimum<T>); });
  add("neg." + t, " $d, $a;", [](T a) { return T{static_cast<uint16_t>(a.bits ^ 0x8000)}; });
  add("abs." + t, " $d, $a;", [](T a) { return T{static_cast<uint16_t>(a.bits & 0x7fff)}; });
}

}  // namespace

std::vector<Case> float_cases() {
  std::vector<Case> cases;
  add_common<float>(&cases, "f32");
  add_common<double>(&cases, "f64");
  const auto add = [&](const char* text, auto function, double tolerance = 0) {
    cases.push_back(make_case(text, +function, tolerance));
  };
  add("add.ftz.f32 $d, $a, $b;", [](float a, float b) { return flushed(flushed(a) + flushed(b)); });
  add("mul.ftz.f32 $d, $a, $b;", [](float a, float b) { return flushed(flushed(a) * flushed(b)); });
  add("min.ftz.f32 $d, $a, $b;", [](float a, float b) { return smaller(flushed(a), flushed(b)); });
  add("neg.ftz.f32 $d, $a;", [](float a) { return -flushed(a); });
  add("abs.ftz.f32 $d, $a;", [](float a) { return std::fabs(flushed(a)); });
  add("max.NaN.f32 $d, $a, $b;", [](float a, float b) {
    return std::isnan(a) || std::isnan(b) ? std::numeric_limits<float>::quiet_NaN() : larger(a, b);
  });
  add("add.sat.f32 $d, $a, $b;", [](float a, float b) {
    const float sum = a + b;
    return std::isnan(sum) || sum < 0 ? 0.0f : sum > 1 ? 1.0f : sum + 0.0f;
  });
  // The manual's bounds: 2^-22 relative for ex2, 1 and 2 ulp for rcp and div.
  add(
      "ex2.approx.ftz.f32 $d, $a;",
      [](float a) { return flushed(static_cast<float>(std::pow(2.0, double{flushed(a)}))); },
      0x1p-22);
  add(
      "lg2.approx.f32 $d, $a;",
      [](float a) { return static_cast<float>(std::log(double{a}) / std::log(2.0)); }, 0x1p-22);
  add(
      "rcp.approx.ftz.f32 $d, $a;", [](float a) { return flushed(1.0f / flushed(a)); }, 0x1p-23);
  add(
      "rsqrt.approx.f32 $d, $a;",
      [](float a) { return static_cast<float>(1 / std::sqrt(double{a})); }, 0x1p-22);
  add(
      "sqrt.approx.f32 $d, $a;", [](float a) { return std::sqrt(a); }, 0x1p-22);
  add(
      "tanh.approx.f32 $d, $a;", [](float a) { return std::tanh(a); }, 0x1p-10);
  add(
      "div.full.f32 $d, $a, $b;", [](float a, float b) { return a / b; }, 0x1p-22);
  return cases;
}

std::vector<Case> small_float_cases() {
  std::vector<Case> cases;
  add_small<Half, HalfPair>(&cases, "f16");
  add_small<Bfloat, BfloatPair>(&cases, "bf16");
  cases.push_back(make_case(
      "cvt.f32.f16 $d, $a;", +[](Half a) { return static_cast<float>(value_of(a)); }));
  cases.push_back(make_case(
      "cvt.f32.bf16 $d, $a;", +[](Bfloat a) { return static_cast<float>(value_of(a)); }));
  cases.push_back(make_case(
      "cvt.rn.f16.f32 $d, $a;", +[](float a) { return nearest<Half>(double{a}); }));
  cases.push_back(make_case(
      "cvt.rn.bf16.f32 $d, $a;", +[](float a) { return nearest<Bfloat>(double{a}); }));
  cases.push_back(make_case(
      "cvt.rn.f16x2.f32 $d, $a, $b;", +[](float a, float b) {
        return HalfPair{uint32_t{nearest<Half>(double{a}).bits} << 16 |
                        nearest<Half>(double{b}).bits};
      }));
  cases.push_back(make_case(
      "cvt.rn.bf16x2.f32 $d, $a, $b;", +[](float a, float b) {
        return BfloatPair{uint32_t{nearest<Bfloat>(double{a}).bits} << 16 |
                          nearest<Bfloat>(double{b}).bits};
      }));
  return cases;
}

}  // namespace tw::test
