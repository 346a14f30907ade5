// atom and red: on the host by its own atomic instructions, so that other processes see them whole.
#include <cmath>
#include <type_traits>

#include "lib/vgpu/isa/address.h"
#include "lib/vgpu/isa/decode.h"
#include "lib/vgpu/isa/floats.h"
#include "lib/vgpu/isa/lanes.h"
#include "lib/vgpu/sim/observer.h"

namespace tw::vgpu {
namespace {

enum Operation : uint8_t {
  kAdd,
  kMin,
  kMax,
  kAnd,
  kOr,
  kXor,
  kExchange,
  kIncrement,
  kDecrement,
  kCas
};

template <class T>
T combine(uint8_t operation, T old, T value) {
  switch (operation) {
    case kAdd:
      return static_cast<T>(old + value);
    case kMin:
      return value < old ? value : old;
    case kMax:
      return value > old ? value : old;
    case kExchange:
      return value;
    default:
      break;
  }
  if constexpr (std::is_integral_v<T>) {
    switch (operation) {
      case kAnd:
        return old & value;
      case kOr:
        return old | value;
      case kXor:
        return old ^ value;
      case kIncrement:
        return old >= value ? T{0} : static_cast<T>(old + 1);
      case kDecrement:
        return old == 0 || old > value ? value : static_cast<T>(old - 1);
      default:
        break;
    }
  }
  return old;
}

/// Numbers of the small formats: added in double, rounded once.
template <bool kIsHalf>
uint16_t combine_small(uint8_t operation, uint16_t old, uint16_t value) {
  const double a = kIsHalf ? from_half(old) : from_bfloat(old);
  const double b = kIsHalf ? from_half(value) : from_bfloat(value);
  const double result = operation == kAdd   ? a + b
                        : operation == kMin ? std::fmin(a, b)
                                            : std::fmax(a, b);
  return static_cast<uint16_t>(
      encode(result, kIsHalf ? kHalf : kBfloat, Rounding::kNearest, false));
}

/// How the bits B of memory become a T and back.
template <class T>
struct Plain {
  using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  static Bits apply(uint8_t operation, Bits old, Bits value) {
    return std::bit_cast<Bits>(
        combine<T>(operation, std::bit_cast<T>(old), std::bit_cast<T>(value)));
  }
};
template <bool kIsHalf>
struct SmallOne {
  using Bits = uint16_t;
  static Bits apply(uint8_t operation, Bits old, Bits value) {
    return combine_small<kIsHalf>(operation, old, value);
  }
};
template <bool kIsHalf>
struct SmallPair {
  using Bits = uint32_t;
  static Bits apply(uint8_t operation, Bits old, Bits value) {
    const uint32_t high = combine_small<kIsHalf>(operation, static_cast<uint16_t>(old >> 16),
                                                 static_cast<uint16_t>(value >> 16));
    return high << 16 | combine_small<kIsHalf>(operation, static_cast<uint16_t>(old),
                                               static_cast<uint16_t>(value));
  }
};
struct Halfword {  // cas.b16 and exch.b16
  using Bits = uint16_t;
  static Bits apply(uint8_t operation, Bits old, Bits value) {
    return operation == kExchange ? value : old;
  }
};

/// The list: destinations, then values; op.c: what cas compares with.
template <class How>
Step atomic(Warp& warp, const Op& op) {
  using Bits = typename How::Bits;
  Addresses addresses;
  const int count = op.count / 2;
  const auto bytes = static_cast<uint32_t>(sizeof(Bits)) * static_cast<uint32_t>(count);
  resolve(warp, op, op.a, bytes, bytes, true, &addresses);
  if (warp.block->observer != nullptr)
    warp.block->observer->access(warp, op, addresses.lane, bytes, AccessKind::kAtomic);
  const Slot* lists = warp.lists + op.list;
  TW_VGPU_EACH(lane, warp.active) {
    for (int i = 0; i < count; ++i) {
      auto* memory = reinterpret_cast<Bits*>(addresses.lane[lane]) + i;
      const Bits value = warp.at<Bits>(lists[count + i])[lane];
      Bits old = __atomic_load_n(memory, __ATOMIC_SEQ_CST);
      if (op.kind == kCas) {
        old = warp.at<Bits>(op.c)[lane];
        __atomic_compare_exchange_n(memory, &old, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
      } else {
        while (!__atomic_compare_exchange_n(memory, &old, How::apply(op.kind, old, value), false,
                                            __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        }
      }
      if (lists[i] != kNoSlot) warp.at<Bits>(lists[i])[lane] = old;
    }
  }
  warp.block->machine->note_progress();
  return Step::kYield;
}

Run choose(Type type, uint8_t operation) {
  const bool is_bitwise = operation >= kAnd && operation <= kXor;
  const bool is_step = operation == kIncrement || operation == kDecrement;
  const bool swaps = operation == kExchange || operation == kCas;
  const bool orders = operation == kMin || operation == kMax;
  switch (type) {
    case Type::kB16:
      return swaps ? atomic<Halfword> : Run{nullptr};
    case Type::kB32:
      return swaps || is_bitwise ? atomic<Plain<uint32_t>> : Run{nullptr};
    case Type::kB64:
      return swaps || is_bitwise ? atomic<Plain<uint64_t>> : Run{nullptr};
    case Type::kU32:
      return is_bitwise || swaps ? nullptr : Run{atomic<Plain<uint32_t>>};
    case Type::kU64:
      return operation == kAdd || orders ? atomic<Plain<uint64_t>> : Run{nullptr};
    case Type::kS32:
      return operation == kAdd || orders ? atomic<Plain<int32_t>> : Run{nullptr};
    case Type::kS64:
      return orders ? atomic<Plain<int64_t>> : Run{nullptr};
    case Type::kF32:
      return operation == kAdd ? atomic<Plain<float>> : Run{nullptr};
    case Type::kF64:
      return operation == kAdd ? atomic<Plain<double>> : Run{nullptr};
    default:
      break;
  }
  if (is_step || swaps || is_bitwise) return nullptr;
  switch (type) {
    case Type::kF16:
      return atomic<SmallOne<true>>;
    case Type::kBf16:
      return atomic<SmallOne<false>>;
    case Type::kF16x2:
      return atomic<SmallPair<true>>;
    case Type::kBf16x2:
      return atomic<SmallPair<false>>;
    default:
      return nullptr;
  }
}

void decode_atomic(Form& form) {
  const bool returns = form.mnemonic() == "atom";
  take_order(form, Order::kRelaxed, Scope::kGpu);
  form.op.space = take_space(form, Space::kGeneric);
  form.op.kind = static_cast<uint8_t>(
      form.take_one({"add", "min", "max", "and", "or", "xor", "exch", "inc", "dec", "cas"}));
  form.take("noftz");
  const bool has_policy = form.take("L2::cache_hint");
  constexpr int kCounts[] = {2, 4, 8, 1};
  const int count = kCounts[form.take_one({"v2", "v4", "v8"}, 3)];
  const Type type = form.type();
  const int bytes = ptx::bytes_of(type);
  size_t next = returns ? 1 : 0;
  form.address(next++);
  std::vector<Slot> slots(static_cast<size_t>(count), kNoSlot);
  if (returns) {
    const auto& destinations = form.parts(0);
    if (destinations.size() != slots.size()) form.fail("as many destinations as elements");
    for (size_t i = 0; i < slots.size(); ++i) slots[i] = form.out(destinations[i], bytes);
  }
  if (form.op.kind == kCas) form.op.c = form.in(next++, bytes);
  const auto& values = form.parts(next++);
  if (values.size() != static_cast<size_t>(count)) form.fail("as many values as elements");
  for (const ptx::Operand& value : values) slots.push_back(form.in(value, bytes));
  form.list(slots);
  if (has_policy) form.in(next++, 8);
  form.emit(choose(type, form.op.kind), next);
}

}  // namespace

const Row kAtomicRows[] = {{"atom", decode_atomic}, {"red", decode_atomic}, {}};

}  // namespace tw::vgpu
