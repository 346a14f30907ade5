// Integer arithmetic: add sub mul mad sad div rem abs neg min max. Overflow wraps.
#include <limits>
#include <type_traits>

#include "lib/vgpu/isa/arithmetic.h"
#include "lib/vgpu/isa/decode.h"
#include "lib/vgpu/isa/lanes.h"

namespace tw::vgpu {
namespace {

struct Add {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a + b);
  }
};
struct Subtract {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a - b);
  }
};
struct AddSaturated {
  int32_t operator()(int32_t a, int32_t b) const {
    const int64_t sum = int64_t{a} + b;
    return static_cast<int32_t>(sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum);
  }
};
struct SubtractSaturated {
  int32_t operator()(int32_t a, int32_t b) const {
    const int64_t sum = int64_t{a} - b;
    return static_cast<int32_t>(sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum);
  }
};
struct Low {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  }
};

template <class T>
struct Twice {
  using type = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
};
template <>
struct Twice<int16_t> {
  using type = int32_t;
};
template <>
struct Twice<uint16_t> {
  using type = uint32_t;
};
template <>
struct Twice<int32_t> {
  using type = int64_t;
};
template <>
struct Twice<uint32_t> {
  using type = uint64_t;
};

struct High {
  template <class T>
  T operator()(T a, T b) const {
    using Product = typename Twice<T>::type;
    return static_cast<T>((static_cast<Product>(a) * static_cast<Product>(b)) >> (8 * sizeof(T)));
  }
};
struct MadLow {
  template <class T>
  T operator()(T a, T b, T c) const {
    return static_cast<T>(Low()(a, b) + c);
  }
};
struct MadHigh {
  template <class T>
  T operator()(T a, T b, T c) const {
    return static_cast<T>(High()(a, b) + c);
  }
};
struct Wide {
  template <class T>
  typename Twice<T>::type operator()(T a, T b) const {
    using Product = typename Twice<T>::type;
    return static_cast<Product>(a) * static_cast<Product>(b);
  }
};
struct MadWide {
  template <class T, class P>
  P operator()(T a, T b, P c) const {
    return static_cast<P>(static_cast<P>(a) * static_cast<P>(b) + c);
  }
};
// The chip's results where C++ has none: all ones for x / 0 and x for x % 0.
struct Divide {
  template <class T>
  T operator()(T a, T b) const {
    if (b == 0) return static_cast<T>(-1);
    if (std::is_signed_v<T> && b == static_cast<T>(-1)) return static_cast<T>(T{0} - a);
    return static_cast<T>(a / b);
  }
};
struct Remainder {
  template <class T>
  T operator()(T a, T b) const {
    if (b == 0) return a;
    if (std::is_signed_v<T> && b == static_cast<T>(-1)) return 0;
    return static_cast<T>(a % b);
  }
};
struct Minimum {
  template <class T>
  T operator()(T a, T b) const {
    return a < b ? a : b;
  }
};
struct Maximum {
  template <class T>
  T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};
struct Absolute {
  template <class T>
  T operator()(T a) const {
    return static_cast<T>(a < 0 ? T{0} - a : a);
  }
};
struct Negate {
  template <class T>
  T operator()(T a) const {
    return static_cast<T>(T{0} - a);
  }
};
struct SumOfDifference {
  template <class T>
  T operator()(T a, T b, T c) const {
    return static_cast<T>(c + (a < b ? b - a : a - b));
  }
};

template <class F>
Run map_wide(Type type) {
  switch (type) {
    case Type::kS16:
      return map2<F, int32_t, int16_t, int16_t>;
    case Type::kU16:
      return map2<F, uint32_t, uint16_t, uint16_t>;
    case Type::kS32:
      return map2<F, int64_t, int32_t, int32_t>;
    case Type::kU32:
      return map2<F, uint64_t, uint32_t, uint32_t>;
    default:
      return nullptr;
  }
}

Run map_mad_wide(Type type) {
  switch (type) {
    case Type::kS16:
      return map3<MadWide, int32_t, int16_t, int16_t, int32_t>;
    case Type::kU16:
      return map3<MadWide, uint32_t, uint16_t, uint16_t, uint32_t>;
    case Type::kS32:
      return map3<MadWide, int64_t, int32_t, int32_t, int64_t>;
    case Type::kU32:
      return map3<MadWide, uint64_t, uint32_t, uint32_t, uint64_t>;
    default:
      return nullptr;
  }
}

void sources(Form& form, int bytes, size_t count) {
  Slot* slots[] = {&form.op.a, &form.op.b, &form.op.c};
  for (size_t i = 0; i < count; ++i) *slots[i] = form.in(i + 1, bytes);
}

void two(Form& form, Type type, Run run) {
  form.op.d = form.out(0, ptx::bytes_of(type));
  sources(form, ptx::bytes_of(type), 2);
  form.emit(run, 3);
}

void product(Form& form, Type type, bool adds) {
  const int bytes = ptx::bytes_of(type);
  const int part = form.take_one({"lo", "hi", "wide"});
  const int result = part == 2 ? 2 * bytes : bytes;
  form.op.d = form.out(0, result);
  sources(form, bytes, 2);
  if (!adds) {
    form.emit(part == 0   ? map_integer<Low, 2>(type)
              : part == 1 ? map_integer<High, 2>(type)
                          : map_wide<Wide>(type),
              3);
    return;
  }
  form.op.c = form.in(3, result);
  form.emit(part == 0   ? map_integer<MadLow, 3>(type)
            : part == 1 ? map_integer<MadHigh, 3>(type)
                        : map_mad_wide(type),
            4);
}

void one(Form& form, Type type, Run run) {
  form.op.d = form.out(0, ptx::bytes_of(type));
  sources(form, ptx::bytes_of(type), 1);
  form.emit(run, 2);
}

void sum_of_difference(Form& form) {
  const Type type = form.type();
  form.op.d = form.out(0, ptx::bytes_of(type));
  sources(form, ptx::bytes_of(type), 3);
  form.emit(map_integer<SumOfDifference, 3>(type), 4);
}

void arithmetic(Form& form) {
  const Type type = form.type();
  if (ptx::kind_of(type) == ptx::Kind::kFloat)
    float_arithmetic(form, type);
  else
    integer_arithmetic(form, type);
}

}  // namespace

void integer_arithmetic(Form& form, Type type) {
  const std::string_view name = form.mnemonic();
  const bool saturates = (name == "add" || name == "sub") && type == Type::kS32 && form.take("sat");
  if (name == "add")
    return two(form, type,
               saturates ? map_same<AddSaturated, 2, int32_t>() : map_integer<Add, 2>(type));
  if (name == "sub")
    return two(
        form, type,
        saturates ? map_same<SubtractSaturated, 2, int32_t>() : map_integer<Subtract, 2>(type));
  if (name == "mul") return product(form, type, false);
  if (name == "mad") return product(form, type, true);
  if (name == "div") return two(form, type, map_integer<Divide, 2>(type));
  if (name == "rem") return two(form, type, map_integer<Remainder, 2>(type));
  if (name == "min") return two(form, type, map_integer<Minimum, 2>(type));
  if (name == "max") return two(form, type, map_integer<Maximum, 2>(type));
  if (name == "abs") return one(form, type, map_integer<Absolute, 1>(type));
  if (name == "neg") return one(form, type, map_integer<Negate, 1>(type));
  form.fail("this instruction does not exist for integers");
}

const Row kIntegerRows[] = {{"add", arithmetic},
                            {"sub", arithmetic},
                            {"mul", arithmetic},
                            {"mad", arithmetic},
                            {"fma", arithmetic},
                            {"div", arithmetic},
                            {"rem", arithmetic},
                            {"min", arithmetic},
                            {"max", arithmetic},
                            {"abs", arithmetic},
                            {"neg", arithmetic},
                            {"sad", sum_of_difference},
                            {}};

}  // namespace tw::vgpu
