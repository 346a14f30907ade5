// setp, set, selp, slct.
#include <cmath>
#include <type_traits>

#include "lib/vgpu/isa/decode.h"
#include "lib/vgpu/isa/floats.h"
#include "lib/vgpu/isa/lanes.h"
#include "lib/vgpu/isa/rounding.h"

namespace tw::vgpu {
namespace {

enum Comparison : uint8_t { kEq, kNe, kLt, kLe, kGt, kGe, kNum, kNan };
constexpr uint8_t kUnordered = 8;  // true where one is NaN
constexpr uint8_t kCompareMask = 15;
enum Combine : uint8_t { kAlone = 0, kAnd = 16, kOr = 32, kXor = 48 };

template <class T, uint8_t kKind>
bool compare(T a, T b) {
  constexpr uint8_t kWhich = kKind & 7;
  bool result = false;
  if constexpr (kWhich == kEq) result = a == b;
  if constexpr (kWhich == kNe) result = a < b || a > b;
  if constexpr (kWhich == kLt) result = a < b;
  if constexpr (kWhich == kLe) result = a <= b;
  if constexpr (kWhich == kGt) result = a > b;
  if constexpr (kWhich == kGe) result = a >= b;
  if constexpr (std::is_floating_point_v<T>) {
    const bool has_nan = a != a || b != b;
    if constexpr (kWhich == kNum) return !has_nan;
    if constexpr (kWhich == kNan) return has_nan;
    if constexpr ((kKind & kUnordered) != 0) result = result || has_nan;
  }
  return result;
}

/// The lanes for which the comparison holds.
template <class T, uint8_t kKind>
uint32_t compare_lanes(const Warp& warp, const Op& op) {
  const T* a = warp.at<T>(op.a);
  const T* b = warp.at<T>(op.b);
  uint32_t result = 0;
  if (warp.active == kAllLanes) {
    uint8_t flags[kLanes];
    TW_VGPU_VECTOR
    for (int lane = 0; lane < kLanes; ++lane) flags[lane] = compare<T, kKind>(a[lane], b[lane]);
    for (int lane = 0; lane < kLanes; lane += 8) {
      uint64_t eight;
      __builtin_memcpy(&eight, flags + lane, 8);
      // Gathers the lowest bits of eight bytes into one byte.
      result |= static_cast<uint32_t>((eight * 0x0102040810204080) >> 56) << lane;
    }
    return result;
  }
  TW_VGPU_EACH(lane, warp.active)
  result |= static_cast<uint32_t>(compare<T, kKind>(a[lane], b[lane])) << lane;
  return result;
}

struct HalfFormat {
  static double wide(uint16_t bits) { return from_half(bits); }
};
struct BfloatFormat {
  static double wide(uint16_t bits) { return from_bfloat(bits); }
};

template <class Format, uint8_t kKind>
uint32_t compare_small(const Warp& warp, const Op& op) {
  const auto* a = warp.at<uint16_t>(op.a);
  const auto* b = warp.at<uint16_t>(op.b);
  uint32_t result = 0;
  TW_VGPU_EACH(lane, warp.active)
  result |=
      static_cast<uint32_t>(compare<double, kKind>(Format::wide(a[lane]), Format::wide(b[lane])))
      << lane;
  return result;
}

using Comparer = uint32_t (*)(const Warp&, const Op&);

uint32_t combined(const Warp& warp, const Op& op, uint32_t result) {
  const uint32_t with = warp.predicate(op.c);
  switch (op.kind & ~kCompareMask) {
    case kAnd:
      return result & with;
    case kOr:
      return result | with;
    case kXor:
      return result ^ with;
    default:
      return result;
  }
}

template <Comparer kCompare>
Step set_predicate(Warp& warp, const Op& op) {
  const uint32_t holds = kCompare(warp, op);
  const uint32_t opposite = combined(warp, op, ~holds);
  const uint32_t result = combined(warp, op, holds);
  if (op.d != kNoSlot) warp.set_predicate(op.d, result);
  if (op.e != kNoSlot) warp.set_predicate(op.e, opposite);
  return Step::kNext;
}

template <Comparer kCompare>
Step set_number(Warp& warp, const Op& op) {
  const uint32_t result = combined(warp, op, kCompare(warp, op));
  const auto ones = static_cast<uint32_t>(op.immediate);
  for_lanes(warp, warp.at<uint32_t>(op.d),
            [=](int lane) { return result >> lane & 1 ? ones : uint32_t{0}; });
  return Step::kNext;
}

template <template <Comparer> class Make, class T, bool kIsFloat>
Run choose(uint8_t kind) {
  switch (kind) {
    case kEq:
      return Make<compare_lanes<T, kEq>>::kRun;
    case kNe:
      return Make<compare_lanes<T, kNe>>::kRun;
    case kLt:
      return Make<compare_lanes<T, kLt>>::kRun;
    case kLe:
      return Make<compare_lanes<T, kLe>>::kRun;
    case kGt:
      return Make<compare_lanes<T, kGt>>::kRun;
    case kGe:
      return Make<compare_lanes<T, kGe>>::kRun;
    default:
      break;
  }
  if constexpr (kIsFloat) {
    switch (kind) {
      case kNum:
        return Make<compare_lanes<T, kNum>>::kRun;
      case kNan:
        return Make<compare_lanes<T, kNan>>::kRun;
      case kEq | kUnordered:
        return Make<compare_lanes<T, kEq | kUnordered>>::kRun;
      case kNe | kUnordered:
        return Make<compare_lanes<T, kNe | kUnordered>>::kRun;
      case kLt | kUnordered:
        return Make<compare_lanes<T, kLt | kUnordered>>::kRun;
      case kLe | kUnordered:
        return Make<compare_lanes<T, kLe | kUnordered>>::kRun;
      case kGt | kUnordered:
        return Make<compare_lanes<T, kGt | kUnordered>>::kRun;
      case kGe | kUnordered:
        return Make<compare_lanes<T, kGe | kUnordered>>::kRun;
      default:
        break;
    }
  }
  return nullptr;
}

template <template <Comparer> class Make, class Format>
Run choose_small(uint8_t kind) {
  switch (kind) {
    case kEq:
      return Make<compare_small<Format, kEq>>::kRun;
    case kNe:
      return Make<compare_small<Format, kNe>>::kRun;
    case kLt:
      return Make<compare_small<Format, kLt>>::kRun;
    case kLe:
      return Make<compare_small<Format, kLe>>::kRun;
    case kGt:
      return Make<compare_small<Format, kGt>>::kRun;
    case kGe:
      return Make<compare_small<Format, kGe>>::kRun;
    case kNan:
      return Make<compare_small<Format, kNan>>::kRun;
    case kNe | kUnordered:
      return Make<compare_small<Format, kNe | kUnordered>>::kRun;
    default:
      return nullptr;
  }
}

template <template <Comparer> class Make>
Run choose_type(Type type, uint8_t kind) {
  switch (type) {
    case Type::kS16:
      return choose<Make, int16_t, false>(kind);
    case Type::kU16:
    case Type::kB16:
      return choose<Make, uint16_t, false>(kind);
    case Type::kS32:
      return choose<Make, int32_t, false>(kind);
    case Type::kU32:
    case Type::kB32:
      return choose<Make, uint32_t, false>(kind);
    case Type::kS64:
      return choose<Make, int64_t, false>(kind);
    case Type::kU64:
    case Type::kB64:
      return choose<Make, uint64_t, false>(kind);
    case Type::kF32:
      return choose<Make, float, true>(kind);
    case Type::kF64:
      return choose<Make, double, true>(kind);
    case Type::kF16:
      return choose_small<Make, HalfFormat>(kind);
    case Type::kBf16:
      return choose_small<Make, BfloatFormat>(kind);
    default:
      return nullptr;
  }
}

template <Comparer kCompare>
struct AsPredicate {
  static constexpr Run kRun = set_predicate<kCompare>;
};
template <Comparer kCompare>
struct AsNumber {
  static constexpr Run kRun = set_number<kCompare>;
};

uint8_t take_comparison(Form& form) {
  struct Name {
    std::string_view name;
    uint8_t kind;
  };
  constexpr Name kNames[] = {{"eq", kEq},
                             {"ne", kNe},
                             {"lt", kLt},
                             {"le", kLe},
                             {"gt", kGt},
                             {"ge", kGe},
                             {"lo", kLt},
                             {"ls", kLe},
                             {"hi", kGt},
                             {"hs", kGe},
                             {"num", kNum},
                             {"nan", kNan},
                             {"equ", kEq | kUnordered},
                             {"neu", kNe | kUnordered},
                             {"ltu", kLt | kUnordered},
                             {"leu", kLe | kUnordered},
                             {"gtu", kGt | kUnordered},
                             {"geu", kGe | kUnordered}};
  for (const Name& row : kNames)
    if (form.take(row.name)) return row.kind;
  form.fail("the comparison is missing");
}

uint8_t take_combination(Form& form, size_t operand) {
  form.op.c = kTrue;
  if (form.operands() == operand) return kAlone;
  const uint8_t kCombinations[] = {kAnd, kOr, kXor};
  const uint8_t combination = kCombinations[form.take_one({"and", "or", "xor"})];
  form.op.c = form.predicate_in(operand);
  return combination;
}

void sources(Form& form, Type type) {
  form.op.a = form.in(1, type);
  form.op.b = form.in(2, type);
}

void setp(Form& form) {
  const uint8_t kind = take_comparison(form);
  const bool flushes = form.take("ftz");
  const uint8_t combination = take_combination(form, 3);
  const Type type = form.type();
  const ptx::Operand& d = form.operand(0);
  if (d.kind == ptx::Operand::Kind::kPair) {
    form.op.d = form.predicate_out(d.parts[0]);
    form.op.e = form.predicate_out(d.parts[1]);
  } else {
    form.op.d = form.predicate_out(0);
  }
  sources(form, type);
  form.op.kind = kind | combination;
  if (flushes) form.fail(".ftz of a comparison is not supported");
  form.emit(choose_type<AsPredicate>(type, kind), combination == kAlone ? 3 : 4);
}

void set(Form& form) {
  const uint8_t kind = take_comparison(form);
  const uint8_t combination = take_combination(form, 3);
  const Type to = form.type();
  const Type type = form.type();
  if (to != Type::kU32 && to != Type::kS32 && to != Type::kF32)
    form.fail("the result of set is .u32, .s32 or .f32");
  form.op.immediate = to == Type::kF32 ? 0x3f800000 : 0xffffffff;
  form.op.d = form.out(0, 4);
  sources(form, type);
  form.op.kind = kind | combination;
  form.emit(choose_type<AsNumber>(type, kind), combination == kAlone ? 3 : 4);
}

template <class T>
Step select(Warp& warp, const Op& op) {
  const T* a = warp.at<T>(op.a);
  const T* b = warp.at<T>(op.b);
  const uint32_t first = warp.predicate(op.c);
  for_lanes(warp, warp.at<T>(op.d),
            [=](int lane) { return first >> lane & 1 ? a[lane] : b[lane]; });
  return Step::kNext;
}

void selp(Form& form) {
  const Type type = form.type();
  const int bytes = ptx::bytes_of(type);
  form.op.d = form.out(0, bytes);
  form.op.a = form.in(1, bytes);
  form.op.b = form.in(2, bytes);
  form.op.c = form.predicate_in(3);
  form.emit(bytes == 2   ? select<uint16_t>
            : bytes == 4 ? select<uint32_t>
            : bytes == 8 ? Run{select<uint64_t>}
                         : nullptr,
            4);
}

struct SelectBySign {
  template <class T, class C>
  T operator()(T a, T b, C c) const {
    return c >= 0 ? a : b;
  }
};

void slct(Form& form) {
  const Type type = form.type();
  const Type by = form.type();
  if (by != Type::kS32) form.fail("slct is supported with .s32");
  const int bytes = ptx::bytes_of(type);
  form.op.d = form.out(0, bytes);
  form.op.a = form.in(1, bytes);
  form.op.b = form.in(2, bytes);
  form.op.c = form.in(3, 4);
  form.emit(bytes == 2   ? map3<SelectBySign, uint16_t, uint16_t, uint16_t, int32_t>
            : bytes == 4 ? map3<SelectBySign, uint32_t, uint32_t, uint32_t, int32_t>
                         : map3<SelectBySign, uint64_t, uint64_t, uint64_t, int32_t>,
            4);
}

}  // namespace

const Row kCompareRows[] = {{"setp", setp}, {"set", set}, {"selp", selp}, {"slct", slct}, {}};

}  // namespace tw::vgpu
