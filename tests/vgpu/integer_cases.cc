// Integers and bits. References use wider types and loops over bits.
#include <algorithm>
#include <bit>
#include <limits>

#include "tests/vgpu/cases.h"

namespace tw::test {
namespace {

using s16 = int16_t;
using u16 = uint16_t;
using s32 = int32_t;
using u32 = uint32_t;
using s64 = int64_t;
using u64 = uint64_t;
using wide = __int128;

/// The low bits of a wide result.
template <class T>
T low(wide value) {
  return static_cast<T>(static_cast<unsigned __int128>(value));
}

/// Modulo 2^128, of which the low bits are right for both signs.
template <class T>
unsigned __int128 product(T a, T b) {
  return static_cast<unsigned __int128>(a) * static_cast<unsigned __int128>(b);
}

template <class T>
void add_arithmetic(std::vector<Case>* cases, const char* type, bool has_high) {
  const std::string t = type;
  const auto add = [&](const std::string& name, const char* operands, auto function) {
    cases->push_back(make_case((name + "." + t + operands).c_str(), +function));
  };
  add("add", " $d, $a, $b;", [](T a, T b) { return low<T>(wide{a} + b); });
  add("sub", " $d, $a, $b;", [](T a, T b) { return low<T>(wide{a} - b); });
  add("mul.lo", " $d, $a, $b;", [](T a, T b) { return static_cast<T>(product(a, b)); });
  add("mad.lo", " $d, $a, $b, $c;", [](T a, T b, T c) {
    return static_cast<T>(product(a, b) + static_cast<unsigned __int128>(c));
  });
  add("min", " $d, $a, $b;", [](T a, T b) { return std::min(a, b); });
  add("max", " $d, $a, $b;", [](T a, T b) { return std::max(a, b); });
  add("div", " $d, $a, $b;",
      [](T a, T b) { return b == 0 ? low<T>(-1) : low<T>(wide{a} / wide{b}); });
  add("rem", " $d, $a, $b;", [](T a, T b) { return b == 0 ? a : low<T>(wide{a} % wide{b}); });
  add("sad", " $d, $a, $b, $c;", [](T a, T b, T c) {
    const wide difference = wide{a} - b;
    return low<T>((difference < 0 ? -difference : difference) + c);
  });
  if (!has_high) return;
  add("mul.hi", " $d, $a, $b;", [](T a, T b) { return low<T>((wide{a} * b) >> (8 * sizeof(T))); });
  add("mad.hi", " $d, $a, $b, $c;",
      [](T a, T b, T c) { return low<T>(((wide{a} * b) >> (8 * sizeof(T))) + c); });
}

template <class T>
void add_signed(std::vector<Case>* cases, const std::string& t) {
  cases->push_back(make_case(("abs." + t + " $d, $a;").c_str(),
                             +[](T a) { return low<T>(a < 0 ? -wide{a} : wide{a}); }));
  cases->push_back(
      make_case(("neg." + t + " $d, $a;").c_str(), +[](T a) { return low<T>(-wide{a}); }));
}

template <class T, class W>
void add_wide(std::vector<Case>* cases, const std::string& t) {
  cases->push_back(make_case(("mul.wide." + t + " $d, $a, $b;").c_str(),
                             +[](T a, T b) { return low<W>(wide{a} * b); }));
  cases->push_back(make_case(("mad.wide." + t + " $d, $a, $b, $c;").c_str(),
                             +[](T a, T b, W c) { return low<W>(wide{a} * b + c); }));
}

template <class T>
void add_logic(std::vector<Case>* cases, const std::string& t) {
  const auto add = [&](const std::string& name, const char* operands, auto function) {
    cases->push_back(make_case((name + "." + t + operands).c_str(), +function));
  };
  add("and", " $d, $a, $b;", [](T a, T b) { return low<T>(a & b); });
  add("or", " $d, $a, $b;", [](T a, T b) { return low<T>(a | b); });
  add("xor", " $d, $a, $b;", [](T a, T b) { return low<T>(a ^ b); });
  add("not", " $d, $a;", [](T a) { return low<T>(~wide{a}); });
  add("cnot", " $d, $a;", [](T a) { return low<T>(a == 0); });
  add("shl", " $d, $a, $b;",
      [](T a, u32 b) { return b >= 8 * sizeof(T) ? T{0} : low<T>(wide{a} << b); });
  add("mov", " $d, $a;", [](T a) { return a; });
}

template <class T>
void add_shift_right(std::vector<Case>* cases, const std::string& t) {
  cases->push_back(make_case(("shr." + t + " $d, $a, $b;").c_str(),
                             +[](T a, u32 b) { return low<T>(wide{a} >> std::min<u32>(b, 100)); }));
}

/// Bit i of a value, by the manual's bfe: beyond the top the sign (or zero).
template <class T>
T extract(T a, u32 b, u32 c) {
  const u32 position = b & 255, length = c & 255, top = 8 * sizeof(T) - 1;
  const bool is_signed = std::is_signed_v<T>;
  const bool fill =
      is_signed && length != 0 && (a >> std::min(position + length - 1, top) & 1) != 0;
  T result = 0;
  for (u32 i = 0; i <= top; ++i) {
    const bool bit = i < length && position + i <= top ? (a >> (position + i) & 1) != 0 : fill;
    if (bit) result = static_cast<T>(result | low<T>(wide{1} << i));
  }
  return result;
}

template <class T>
T insert(T a, T b, u32 c, u32 d) {
  T result = b;
  for (u32 i = 0; i < (d & 255) && (c & 255) + i < 8 * sizeof(T); ++i) {
    const u32 place = (c & 255) + i;
    result = (result & ~(T{1} << place)) | ((a >> i & 1) << place);
  }
  return result;
}

template <class T>
u32 highest(T a) {
  for (int i = 8 * sizeof(T) - 1; i >= 0; --i)
    if ((a >> i & 1) != (a < 0 ? 1 : 0)) return static_cast<u32>(i);
  return ~0u;
}

template <class T>
T reversed(T a) {
  T result = 0;
  for (size_t i = 0; i < 8 * sizeof(T); ++i) result |= (a >> i & 1) << (8 * sizeof(T) - 1 - i);
  return result;
}

template <class T>
u32 leading_zeros(T a) {
  u32 count = 0;
  while (count < 8 * sizeof(T) && (a >> (8 * sizeof(T) - 1 - count) & 1) == 0) ++count;
  return count;
}

template <class T>
u32 ones(T a) {
  u32 count = 0;
  for (size_t i = 0; i < 8 * sizeof(T); ++i) count += static_cast<u32>(a >> i & 1);
  return count;
}

u32 permuted(u32 a, u32 b, u32 c) {
  u32 bytes[8];
  for (int i = 0; i < 4; ++i) bytes[i] = a >> (8 * i) & 255, bytes[4 + i] = b >> (8 * i) & 255;
  u32 result = 0;
  for (int i = 0; i < 4; ++i) {
    const u32 selector = c >> (4 * i) & 15;
    u32 byte = bytes[selector & 7];
    if (selector >= 8) byte = byte >= 128 ? 255 : 0;
    result |= byte << (8 * i);
  }
  return result;
}

s32 clamped(s64 value) {
  return static_cast<s32>(
      std::clamp<s64>(value, std::numeric_limits<s32>::min(), std::numeric_limits<s32>::max()));
}

template <int kTable>
u32 looked_up(u32 a, u32 b, u32 c) {
  u32 result = 0;
  for (int i = 0; i < 32; ++i) {
    const u32 index = (a >> i & 1) << 2 | (b >> i & 1) << 1 | (c >> i & 1);
    result |= (static_cast<u32>(kTable) >> index & 1) << i;
  }
  return result;
}

}  // namespace

std::vector<Case> integer_cases() {
  std::vector<Case> cases;
  add_arithmetic<s16>(&cases, "s16", true);
  add_arithmetic<u16>(&cases, "u16", true);
  add_arithmetic<s32>(&cases, "s32", true);
  add_arithmetic<u32>(&cases, "u32", true);
  add_arithmetic<s64>(&cases, "s64", true);
  add_arithmetic<u64>(&cases, "u64", false);
  cases.push_back(make_case(
      "mul.hi.u64 $d, $a, $b;", +[](u64 a, u64 b) {
        return static_cast<u64>((static_cast<unsigned __int128>(a) * b) >> 64);
      }));
  add_signed<s16>(&cases, "s16");
  add_signed<s32>(&cases, "s32");
  add_signed<s64>(&cases, "s64");
  add_wide<s16, s32>(&cases, "s16");
  add_wide<u16, u32>(&cases, "u16");
  add_wide<s32, s64>(&cases, "s32");
  add_wide<u32, u64>(&cases, "u32");
  cases.push_back(make_case(
      "add.sat.s32 $d, $a, $b;", +[](s32 a, s32 b) { return clamped(s64{a} + b); }));
  cases.push_back(make_case(
      "sub.sat.s32 $d, $a, $b;", +[](s32 a, s32 b) { return clamped(s64{a} - b); }));
  return cases;
}

std::vector<Case> bit_cases() {
  std::vector<Case> cases;
  add_logic<u16>(&cases, "b16");
  add_logic<u32>(&cases, "b32");
  add_logic<u64>(&cases, "b64");
  add_shift_right<s16>(&cases, "s16");
  add_shift_right<u16>(&cases, "u16");
  add_shift_right<s32>(&cases, "s32");
  add_shift_right<u32>(&cases, "u32");
  add_shift_right<s64>(&cases, "s64");
  add_shift_right<u64>(&cases, "u64");
  cases.push_back(make_case("bfe.u32 $d, $a, $b, $c;", +extract<u32>));
  cases.push_back(make_case("bfe.s32 $d, $a, $b, $c;", +extract<s32>));
  cases.push_back(make_case("bfe.u64 $d, $a, $b, $c;", +extract<u64>));
  cases.push_back(make_case("bfe.s64 $d, $a, $b, $c;", +extract<s64>));
  cases.push_back(make_case("bfi.b32 $d, $a, $b, $c, $e;", +insert<u32>));
  cases.push_back(make_case("bfi.b64 $d, $a, $b, $c, $e;", +insert<u64>));
  cases.push_back(make_case("bfind.u32 $d, $a;", +highest<u32>));
  cases.push_back(make_case("bfind.s32 $d, $a;", +highest<s32>));
  cases.push_back(make_case("bfind.u64 $d, $a;", +highest<u64>));
  cases.push_back(make_case("bfind.s64 $d, $a;", +highest<s64>));
  cases.push_back(make_case(
      "bfind.shiftamt.u32 $d, $a;", +[](u32 a) { return a == 0 ? ~0u : 31 - highest(a); }));
  cases.push_back(make_case("brev.b32 $d, $a;", +reversed<u32>));
  cases.push_back(make_case("brev.b64 $d, $a;", +reversed<u64>));
  cases.push_back(make_case("clz.b32 $d, $a;", +leading_zeros<u32>));
  cases.push_back(make_case("clz.b64 $d, $a;", +leading_zeros<u64>));
  cases.push_back(make_case("popc.b32 $d, $a;", +ones<u32>));
  cases.push_back(make_case("popc.b64 $d, $a;", +ones<u64>));
  cases.push_back(make_case("prmt.b32 $d, $a, $b, $c;", +permuted));
  cases.push_back(make_case("lop3.b32 $d, $a, $b, $c, 0x96;", +looked_up<0x96>));
  cases.push_back(make_case("lop3.b32 $d, $a, $b, $c, 0xca;", +looked_up<0xca>));
  cases.push_back(make_case("lop3.b32 $d, $a, $b, $c, 0x01;", +looked_up<0x01>));
  cases.push_back(make_case(
      "shf.l.wrap.b32 $d, $a, $b, $c;", +[](u32 a, u32 b, u32 c) {
        return static_cast<u32>(((u64{b} << 32 | a) << (c % 32)) >> 32);
      }));
  cases.push_back(make_case(
      "shf.r.wrap.b32 $d, $a, $b, $c;",
      +[](u32 a, u32 b, u32 c) { return static_cast<u32>((u64{b} << 32 | a) >> (c % 32)); }));
  cases.push_back(make_case(
      "shf.l.clamp.b32 $d, $a, $b, $c;", +[](u32 a, u32 b, u32 c) {
        return c >= 32 ? a : static_cast<u32>(((u64{b} << 32 | a) << c) >> 32);
      }));
  cases.push_back(make_case(
      "shf.r.clamp.b32 $d, $a, $b, $c;", +[](u32 a, u32 b, u32 c) {
        return c >= 32 ? b : static_cast<u32>((u64{b} << 32 | a) >> c);
      }));
  return cases;
}

}  // namespace tw::test
