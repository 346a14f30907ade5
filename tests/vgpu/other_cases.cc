// Comparisons, selections, conversions.
#include <algorithm>
#include <limits>

#include "tests/vgpu/cases.h"

namespace tw::test {
namespace {

template <class T>
void add_comparisons(std::vector<Case>* cases, const std::string& t, bool is_unsigned) {
  const auto add = [&](const std::string& name, auto function) {
    cases->push_back(make_case(("setp." + name + "." + t + " $d, $a, $b;").c_str(), +function));
  };
  add("eq", [](T a, T b) { return a == b; });
  add("lt", [](T a, T b) { return a < b; });
  add("le", [](T a, T b) { return a <= b; });
  add("gt", [](T a, T b) { return a > b; });
  add("ge", [](T a, T b) { return a >= b; });
  if constexpr (std::is_floating_point_v<T>) {
    add("ne", [](T a, T b) { return a < b || a > b; });
    add("neu", [](T a, T b) { return !(a == b); });
    add("equ", [](T a, T b) { return !(a < b || a > b); });
    add("ltu", [](T a, T b) { return !(a >= b); });
    add("leu", [](T a, T b) { return !(a > b); });
    add("gtu", [](T a, T b) { return !(a <= b); });
    add("geu", [](T a, T b) { return !(a < b); });
    add("num", [](T a, T b) { return !std::isnan(a) && !std::isnan(b); });
    add("nan", [](T a, T b) { return std::isnan(a) || std::isnan(b); });
  } else {
    add("ne", [](T a, T b) { return a != b; });
    if (!is_unsigned) return;
    add("lo", [](T a, T b) { return a < b; });
    add("ls", [](T a, T b) { return a <= b; });
    add("hi", [](T a, T b) { return a > b; });
    add("hs", [](T a, T b) { return a >= b; });
  }
}

template <class D, class S>
void add_conversion(std::vector<Case>* cases, const std::string& d, const std::string& s) {
  cases->push_back(make_case(("cvt." + d + "." + s + " $d, $a;").c_str(),
                             +[](S a) { return static_cast<D>(a); }));
  cases->push_back(make_case(("cvt.sat." + d + "." + s + " $d, $a;").c_str(), +[](S a) {
    const auto value = static_cast<__int128>(a);
    return static_cast<D>(
        std::clamp<__int128>(value, std::numeric_limits<D>::min(), std::numeric_limits<D>::max()));
  }));
}

template <class D>
void add_conversions_to(std::vector<Case>* cases, const std::string& d) {
  add_conversion<D, int16_t>(cases, d, "s16");
  add_conversion<D, uint16_t>(cases, d, "u16");
  add_conversion<D, int32_t>(cases, d, "s32");
  add_conversion<D, uint32_t>(cases, d, "u32");
  add_conversion<D, int64_t>(cases, d, "s64");
  add_conversion<D, uint64_t>(cases, d, "u64");
}

/// By the manual: NaN becomes 0, what is beyond becomes the nearest integer.
template <class D>
D whole(double value) {
  if (std::isnan(value)) return 0;
  const auto low = static_cast<double>(std::numeric_limits<D>::min());
  const double above = std::ldexp(1.0, std::numeric_limits<D>::digits);
  if (value <= low) return std::numeric_limits<D>::min();
  if (value >= above) return std::numeric_limits<D>::max();
  return static_cast<D>(value);
}

template <class D, class S>
void add_float_to_integer(std::vector<Case>* cases, const std::string& d, const std::string& s) {
  const auto add = [&](const std::string& mode, auto function) {
    cases->push_back(
        make_case(("cvt." + mode + "." + d + "." + s + " $d, $a;").c_str(), +function));
  };
  add("rzi", [](S a) { return whole<D>(std::trunc(double{a})); });
  add("rni", [](S a) { return whole<D>(std::nearbyint(double{a})); });
  add("rmi", [](S a) { return whole<D>(std::floor(double{a})); });
  add("rpi", [](S a) { return whole<D>(std::ceil(double{a})); });
}

template <class D, class S>
void add_integer_to_float(std::vector<Case>* cases, const std::string& d, const std::string& s) {
  cases->push_back(make_case(("cvt.rn." + d + "." + s + " $d, $a;").c_str(),
                             +[](S a) { return static_cast<D>(a); }));
}

}  // namespace

std::vector<Case> compare_cases() {
  std::vector<Case> cases;
  add_comparisons<int16_t>(&cases, "s16", false);
  add_comparisons<uint16_t>(&cases, "u16", true);
  add_comparisons<int32_t>(&cases, "s32", false);
  add_comparisons<uint32_t>(&cases, "u32", true);
  add_comparisons<int64_t>(&cases, "s64", false);
  add_comparisons<uint64_t>(&cases, "u64", true);
  add_comparisons<float>(&cases, "f32", false);
  add_comparisons<double>(&cases, "f64", false);
  const auto add = [&](const char* text, auto function) {
    cases.push_back(make_case(text, +function));
  };
  add("setp.lt.and.s32 $d, $a, $b, $c;", [](int32_t a, int32_t b, bool c) { return a < b && c; });
  add("setp.lt.or.s32 $d, $a, $b, !$c;", [](int32_t a, int32_t b, bool c) { return a < b || !c; });
  add("setp.lt.xor.s32 $d, $a, $b, $c;", [](int32_t a, int32_t b, bool c) { return (a < b) != c; });
  add("setp.eq.s32 _|$d, $a, $b;", [](int32_t a, int32_t b) { return a != b; });
  add("set.gt.u32.s32 $d, $a, $b;", [](int32_t a, int32_t b) { return a > b ? ~0u : 0u; });
  add("set.gt.f32.s32 $d, $a, $b;", [](int32_t a, int32_t b) { return a > b ? 1.0f : 0.0f; });
  add("selp.b16 $d, $a, $b, $c;", [](uint16_t a, uint16_t b, bool c) { return c ? a : b; });
  add("selp.b32 $d, $a, $b, $c;", [](uint32_t a, uint32_t b, bool c) { return c ? a : b; });
  add("selp.b64 $d, $a, $b, !$c;", [](uint64_t a, uint64_t b, bool c) { return c ? b : a; });
  add("slct.b32.s32 $d, $a, $b, $c;",
      [](uint32_t a, uint32_t b, int32_t c) { return c >= 0 ? a : b; });
  add("and.pred $d, $a, $b;", [](bool a, bool b) { return a && b; });
  add("or.pred $d, $a, $b;", [](bool a, bool b) { return a || b; });
  add("xor.pred $d, $a, $b;", [](bool a, bool b) { return a != b; });
  add("not.pred $d, $a;", [](bool a) { return !a; });
  add("mov.pred $d, $a;", [](bool a) { return a; });
  add("mov.pred $d, 0;", [](bool) { return false; });
  add("mov.pred $d, -1;", [](bool) { return true; });
  return cases;
}

std::vector<Case> convert_cases() {
  std::vector<Case> cases;
  add_conversions_to<int16_t>(&cases, "s16");
  add_conversions_to<uint16_t>(&cases, "u16");
  add_conversions_to<int32_t>(&cases, "s32");
  add_conversions_to<uint32_t>(&cases, "u32");
  add_conversions_to<int64_t>(&cases, "s64");
  add_conversions_to<uint64_t>(&cases, "u64");
  add_float_to_integer<int32_t, float>(&cases, "s32", "f32");
  add_float_to_integer<uint32_t, float>(&cases, "u32", "f32");
  add_float_to_integer<int64_t, float>(&cases, "s64", "f32");
  add_float_to_integer<uint64_t, double>(&cases, "u64", "f64");
  add_float_to_integer<int32_t, double>(&cases, "s32", "f64");
  add_integer_to_float<float, int32_t>(&cases, "f32", "s32");
  add_integer_to_float<float, uint32_t>(&cases, "f32", "u32");
  add_integer_to_float<float, int64_t>(&cases, "f32", "s64");
  add_integer_to_float<float, uint64_t>(&cases, "f32", "u64");
  add_integer_to_float<double, int32_t>(&cases, "f64", "s32");
  add_integer_to_float<double, uint64_t>(&cases, "f64", "u64");
  const auto add = [&](const char* text, auto function) {
    cases.push_back(make_case(text, +function));
  };
  add("cvt.s32.s8 $d, $a;", [](uint32_t a) { return int32_t{static_cast<int8_t>(a)}; });
  add("cvt.u64.u8 $d, $a;", [](uint32_t a) { return uint64_t{static_cast<uint8_t>(a)}; });
  add("cvt.s64.s16 $d, $a;", [](int16_t a) { return int64_t{a}; });
  add("cvt.f64.f32 $d, $a;", [](float a) { return double{a}; });
  add("cvt.rn.f32.f64 $d, $a;", [](double a) { return static_cast<float>(a); });
  add("cvt.rzi.f32.f32 $d, $a;", [](float a) { return std::trunc(a); });
  add("cvt.rmi.f32.f32 $d, $a;", [](float a) { return std::floor(a); });
  add("cvt.sat.f32.f32 $d, $a;", [](float a) { return a > 0 ? std::min(a, 1.0f) : 0.0f; });
  return cases;
}

}  // namespace tw::test
