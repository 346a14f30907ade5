// Logic, shifts and bit fields.
#include <algorithm>
#include <type_traits>

#include "lib/vgpu/isa/decode.h"
#include "lib/vgpu/isa/lanes.h"

namespace tw::vgpu {
namespace {

struct And {
  template <class T>
  T operator()(T a, T b) const {
    return a & b;
  }
};
struct Or {
  template <class T>
  T operator()(T a, T b) const {
    return a | b;
  }
};
struct Xor {
  template <class T>
  T operator()(T a, T b) const {
    return a ^ b;
  }
};
struct Not {
  template <class T>
  T operator()(T a) const {
    return static_cast<T>(~a);
  }
};
struct LogicalNot {
  template <class T>
  T operator()(T a) const {
    return a == 0 ? 1 : 0;
  }
};
// Shifts by more than the width shift everything out.
struct ShiftLeft {
  template <class T>
  T operator()(T a, uint32_t by) const {
    return by >= 8 * sizeof(T) ? T{0} : static_cast<T>(a << by);
  }
};
struct ShiftRight {
  template <class T>
  T operator()(T a, uint32_t by) const {
    constexpr uint32_t kWidth = 8 * sizeof(T);
    if constexpr (std::is_signed_v<T>) return static_cast<T>(a >> (by >= kWidth ? kWidth - 1 : by));
    return by >= kWidth ? T{0} : static_cast<T>(a >> by);
  }
};

template <class F, class T>
constexpr Run kShift = map2<F, T, T, uint32_t>;

/// d = the high (left) or low (right) half of {b, a} after a shift; 0: clamp, 1: wrap.
template <bool kLeft, bool kWraps>
struct Funnel {
  uint32_t operator()(uint32_t a, uint32_t b, uint32_t c) const {
    const uint32_t by = kWraps ? c & 31 : std::min(c, 32u);
    const uint64_t both = uint64_t{b} << 32 | a;
    return static_cast<uint32_t>(kLeft ? (both << by) >> 32 : both >> by);
  }
};

struct CountLeading {
  uint32_t operator()(uint32_t a) const { return static_cast<uint32_t>(std::countl_zero(a)); }
  uint32_t operator()(uint64_t a) const { return static_cast<uint32_t>(std::countl_zero(a)); }
};
struct CountOnes {
  template <class T>
  uint32_t operator()(T a) const {
    return static_cast<uint32_t>(std::popcount(a));
  }
};
struct Reverse {
  template <class T>
  T operator()(T a) const {
    T result = 0;
    for (size_t i = 0; i < 8 * sizeof(T); ++i) result |= (a >> i & 1) << (8 * sizeof(T) - 1 - i);
    return result;
  }
};

/// The place of the highest bit that differs from the sign; all ones when there is none.
template <bool kShiftAmount>
struct FindHighest {
  template <class T>
  uint32_t operator()(T a) const {
    using U = std::make_unsigned_t<T>;
    const U bits = std::is_signed_v<T> && a < 0 ? static_cast<U>(~a) : static_cast<U>(a);
    if (bits == 0) return ~0u;
    const auto leading = static_cast<uint32_t>(std::countl_zero(bits));
    return kShiftAmount ? leading : static_cast<uint32_t>(8 * sizeof(T)) - 1 - leading;
  }
};

struct Extract {
  template <class T>
  T operator()(T a, uint32_t position, uint32_t length) const {
    constexpr uint32_t kTop = 8 * sizeof(T) - 1;
    position &= 255;
    length &= 255;
    if (length == 0) return 0;
    const bool fills = std::is_signed_v<T> && (a >> std::min(position + length - 1, kTop) & 1);
    std::make_unsigned_t<T> result = 0;
    for (uint32_t i = 0; i <= kTop; ++i) {
      const bool bit = i < length && position + i <= kTop ? (a >> (position + i) & 1) : fills;
      result |= static_cast<std::make_unsigned_t<T>>(bit) << i;
    }
    return static_cast<T>(result);
  }
};

struct Insert {
  template <class T>
  T operator()(T a, T b, uint32_t position, uint32_t length) const {
    constexpr uint32_t kWidth = 8 * sizeof(T);
    position &= 255;
    length &= 255;
    if (length == 0 || position >= kWidth) return b;
    length = std::min(length, kWidth - position);
    const T field = (length >= kWidth ? ~T{0} : (T{1} << length) - 1) << position;
    return (b & ~field) | ((a << position) & field);
  }
};

/// Four bytes of {b, a}, chosen by nibbles; a nibble's top bit replicates the byte's sign.
struct Permute {
  uint32_t operator()(uint32_t a, uint32_t b, uint32_t c) const {
    const uint64_t both = uint64_t{b} << 32 | a;
    uint32_t result = 0;
    for (int i = 0; i < 4; ++i) {
      const uint32_t selector = c >> (4 * i) & 15;
      auto byte = static_cast<uint32_t>(both >> (8 * (selector & 7))) & 255;
      if (selector & 8) byte = byte & 128 ? 255 : 0;
      result |= byte << (8 * i);
    }
    return result;
  }
};

Step logic3(Warp& warp, const Op& op) {
  const auto* a = warp.at<uint32_t>(op.a);
  const auto* b = warp.at<uint32_t>(op.b);
  const auto* c = warp.at<uint32_t>(op.c);
  uint32_t terms[8];  // all ones where the truth table has a one
  for (int i = 0; i < 8; ++i) terms[i] = 0u - static_cast<uint32_t>(op.immediate >> i & 1);
  for_lanes(warp, warp.at<uint32_t>(op.d), [&](int lane) {
    const uint32_t x = a[lane], y = b[lane], z = c[lane];
    return (~x & ((~y & ((~z & terms[0]) | (z & terms[1]))) |
                  (y & ((~z & terms[2]) | (z & terms[3]))))) |
           (x &
            ((~y & ((~z & terms[4]) | (z & terms[5]))) | (y & ((~z & terms[6]) | (z & terms[7])))));
  });
  return Step::kNext;
}

enum : uint8_t { kAnd, kOr, kXor, kNot };

Step predicate_logic(Warp& warp, const Op& op) {
  const uint32_t a = warp.predicate(op.a);
  const uint32_t b = op.kind == kNot ? 0 : warp.predicate(op.b);
  const uint32_t result = op.kind == kAnd   ? a & b
                          : op.kind == kOr  ? a | b
                          : op.kind == kXor ? a ^ b
                                            : ~a;
  warp.set_predicate(op.d, result);
  return Step::kNext;
}

void logic(Form& form) {
  const std::string_view name = form.mnemonic();
  const Type type = form.type();
  const int bytes = ptx::bytes_of(type);
  const size_t sources = name == "not" || name == "cnot" ? 1 : 2;
  if (type == Type::kPred) {
    if (name == "cnot") form.fail("cnot has no predicates");
    form.op.kind = name == "and" ? kAnd : name == "or" ? kOr : name == "xor" ? kXor : kNot;
    form.op.d = form.predicate_out(0);
    form.op.a = form.predicate_in(1);
    if (sources == 2) form.op.b = form.predicate_in(2);
    return form.emit(predicate_logic, sources + 1);
  }
  form.op.d = form.out(0, bytes);
  form.op.a = form.in(1, bytes);
  if (sources == 2) form.op.b = form.in(2, bytes);
  form.emit(name == "and"   ? map_bits<And, 2>(type)
            : name == "or"  ? map_bits<Or, 2>(type)
            : name == "xor" ? map_bits<Xor, 2>(type)
            : name == "not" ? map_bits<Not, 1>(type)
                            : map_bits<LogicalNot, 1>(type),
            sources + 1);
}

void lop3(Form& form) {
  if (form.type() != Type::kB32) form.fail("lop3 has .b32 only");
  form.op.d = form.out(0, 4);
  form.op.a = form.in(1, 4);
  form.op.b = form.in(2, 4);
  form.op.c = form.in(3, 4);
  form.op.immediate = form.constant(4);
  if (form.op.immediate < 0 || form.op.immediate > 255)
    form.fail("the truth table of lop3 is 0 to 255");
  form.emit(logic3, 5);
}

void shift(Form& form) {
  const bool is_left = form.mnemonic() == "shl";
  const Type type = form.type();
  const int bytes = ptx::bytes_of(type);
  form.op.d = form.out(0, bytes);
  form.op.a = form.in(1, bytes);
  form.op.b = form.in(2, 4);
  const bool is_signed = ptx::kind_of(type) == ptx::Kind::kSigned;
  Run run = nullptr;
  if (is_left)
    run = bytes == 2   ? kShift<ShiftLeft, uint16_t>
          : bytes == 4 ? kShift<ShiftLeft, uint32_t>
                       : kShift<ShiftLeft, uint64_t>;
  else if (is_signed)
    run = bytes == 2   ? kShift<ShiftRight, int16_t>
          : bytes == 4 ? kShift<ShiftRight, int32_t>
                       : kShift<ShiftRight, int64_t>;
  else
    run = bytes == 2   ? kShift<ShiftRight, uint16_t>
          : bytes == 4 ? kShift<ShiftRight, uint32_t>
                       : kShift<ShiftRight, uint64_t>;
  form.emit(bytes >= 2 && bytes <= 8 ? run : nullptr, 3);
}

void funnel(Form& form) {
  const bool is_left = form.take_one({"l", "r"}) == 0;
  const bool wraps = form.take_one({"clamp", "wrap"}) == 1;
  if (form.type() != Type::kB32) form.fail("shf has .b32 only");
  form.op.d = form.out(0, 4);
  form.op.a = form.in(1, 4);
  form.op.b = form.in(2, 4);
  form.op.c = form.in(3, 4);
  const auto run = [&]<bool kLeft>() -> Run {
    if (wraps) return map3<Funnel<kLeft, true>, uint32_t, uint32_t, uint32_t, uint32_t>;
    return map3<Funnel<kLeft, false>, uint32_t, uint32_t, uint32_t, uint32_t>;
  };
  form.emit(is_left ? run.operator()<true>() : run.operator()<false>(), 4);
}

/// clz, popc, bfind: a count from 4 or 8 bytes; brev: the same width.
void count(Form& form) {
  const std::string_view name = form.mnemonic();
  const bool amount = name == "bfind" && form.take("shiftamt");
  const Type type = form.type();
  const int bytes = ptx::bytes_of(type);
  if (bytes != 4 && bytes != 8) form.fail("the type has 4 or 8 bytes");
  const bool is_long = bytes == 8;
  form.op.d = form.out(0, name == "brev" ? bytes : 4);
  form.op.a = form.in(1, bytes);
  Run run = nullptr;
  if (name == "clz")
    run = is_long ? map1<CountLeading, uint32_t, uint64_t> : map1<CountLeading, uint32_t, uint32_t>;
  if (name == "popc")
    run = is_long ? map1<CountOnes, uint32_t, uint64_t> : map1<CountOnes, uint32_t, uint32_t>;
  if (name == "brev")
    run = is_long ? map1<Reverse, uint64_t, uint64_t> : map1<Reverse, uint32_t, uint32_t>;
  if (name == "bfind" && amount)
    run = type == Type::kS32   ? map1<FindHighest<true>, uint32_t, int32_t>
          : type == Type::kU32 ? map1<FindHighest<true>, uint32_t, uint32_t>
          : type == Type::kS64 ? map1<FindHighest<true>, uint32_t, int64_t>
                               : map1<FindHighest<true>, uint32_t, uint64_t>;
  if (name == "bfind" && !amount)
    run = type == Type::kS32   ? map1<FindHighest<false>, uint32_t, int32_t>
          : type == Type::kU32 ? map1<FindHighest<false>, uint32_t, uint32_t>
          : type == Type::kS64 ? map1<FindHighest<false>, uint32_t, int64_t>
                               : map1<FindHighest<false>, uint32_t, uint64_t>;
  form.emit(run, 2);
}

void extract(Form& form) {
  const Type type = form.type();
  form.op.d = form.out(0, ptx::bytes_of(type));
  form.op.a = form.in(1, ptx::bytes_of(type));
  form.op.b = form.in(2, 4);
  form.op.c = form.in(3, 4);
  form.emit(type == Type::kU32   ? map3<Extract, uint32_t, uint32_t, uint32_t, uint32_t>
            : type == Type::kS32 ? map3<Extract, int32_t, int32_t, uint32_t, uint32_t>
            : type == Type::kU64 ? map3<Extract, uint64_t, uint64_t, uint32_t, uint32_t>
            : type == Type::kS64 ? Run{map3<Extract, int64_t, int64_t, uint32_t, uint32_t>}
                                 : nullptr,
            4);
}

void insert(Form& form) {
  const Type type = form.type();
  const int bytes = ptx::bytes_of(type);
  form.op.d = form.out(0, bytes);
  form.op.a = form.in(1, bytes);
  form.op.b = form.in(2, bytes);
  form.op.c = form.in(3, 4);
  form.op.e = form.in(4, 4);
  form.emit(type == Type::kB32 ? map4<Insert, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t>
            : type == Type::kB64
                ? Run{map4<Insert, uint64_t, uint64_t, uint64_t, uint32_t, uint32_t>}
                : nullptr,
            5);
}

void permute(Form& form) {
  if (form.type() != Type::kB32) form.fail("prmt has .b32 only");
  form.op.d = form.out(0, 4);
  form.op.a = form.in(1, 4);
  form.op.b = form.in(2, 4);
  form.op.c = form.in(3, 4);
  form.emit(map3<Permute, uint32_t, uint32_t, uint32_t, uint32_t>, 4);
}

}  // namespace

const Row kBitRows[] = {{"and", logic},
                        {"or", logic},
                        {"xor", logic},
                        {"not", logic},
                        {"cnot", logic},
                        {"lop3", lop3},
                        {"shl", shift},
                        {"shr", shift},
                        {"shf", funnel},
                        {"clz", count},
                        {"popc", count},
                        {"brev", count},
                        {"bfind", count},
                        {"bfe", extract},
                        {"bfi", insert},
                        {"prmt", permute},
                        {}};

}  // namespace tw::vgpu
