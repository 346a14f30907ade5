// The loops of a reduction on CPUs, for every type and op. Included by one source per target
// (kernels/coll/reduce_loops.cu), and by one source of any program outside tilewire whose kernels
// reduce.
//
// Work goes in units of 64 bytes: a unit of every source is loaded, widened and combined in
// registers, then narrowed once and stored to every destination. A ragged tail is a padded unit, so
// that there is one code path and one result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tilewire/tile/impl/cpu/reduce.h"
#include "tilewire/tile/impl/cpu/vector.h"
#include "tilewire/tile/types.h"

namespace TW_NS {

// ---- Elements: storage vector <-> accumulator vectors
// --------------------------------------------

/// Types that are added as they are stored.
template <class T>
struct Plain {
  using Stored = T;
  using Lane = T;
  static constexpr int kParts = 1;  // accumulator vectors for one vector of storage
  TW_INLINE static void widen(Vec<T> raw, Vec<Lane>* out) { out[0] = raw; }
  TW_INLINE static Vec<T> narrow(const Vec<Lane>* in) {
    if constexpr (std::is_floating_point_v<T>) {
      const Vec<T> quiet = splat<Vec<T>>(static_cast<T>(__builtin_nan("")));
      return select(in[0] == in[0], in[0], quiet);
    } else {
      return in[0];
    }
  }
};

/// 16- and 8-bit floats: fp32 accumulators. Part p of a 32-bit word goes to accumulator p.
template <class T, class Format>
struct Small {
  using Stored = T;
  using Lane = float;
  using Word = Vec<uint32_t>;
  static constexpr int kParts = 32 / Format::kBits;
  static constexpr uint32_t kMask = (uint64_t{1} << Format::kBits) - 1;
  TW_INLINE static void widen(Vec<T> raw, Vec<float>* out) {
    const Word word = bits_as<Word>(raw);
    for (int p = 0; p < kParts; ++p)
      out[p] = Format::template widen<Vec<float>>(Word(word >> (p * Format::kBits)));
  }
  TW_INLINE static Vec<T> narrow(const Vec<float>* in) {
    Word word = {};
    for (int p = 0; p < kParts; ++p)
      word |= Format::template narrow<Vec<float>, Word>(in[p]) << (p * Format::kBits);
    return bits_as<Vec<T>>(word);
  }
};

/// bf16: the two halves of a word need no shift on one side.
struct SmallBf16 {
  using Stored = uint16_t;
  using Lane = float;
  using Word = Vec<uint32_t>;
  static constexpr int kParts = 2;
  TW_INLINE static void widen(Vec<uint16_t> raw, Vec<float>* out) {
    const Word word = bits_as<Word>(raw);
    out[0] = bits_as<Vec<float>>(word << 16);
    out[1] = bits_as<Vec<float>>(word & 0xffff0000u);
  }
  TW_INLINE static Vec<uint16_t> narrow(const Vec<float>* in) {
    const Word low = Bf16::narrow_high<Vec<float>, Word>(in[0]);
    const Word high = Bf16::narrow_high<Vec<float>, Word>(in[1]);
    return bits_as<Vec<uint16_t>>((low >> 16) | (high & 0xffff0000u));
  }
};

// ---- Combinations. NaN: a sum or product with a NaN is NaN; min and max return the other operand,
// and of equal ones (+0 and -0) the lower rank's.
// --------------------------------------------------

struct Sum {
  static constexpr bool kSums = true;  // factors and averages belong to sums
  template <class V>
  TW_INLINE static V combine(V a, V b) {
    return a + b;
  }
};
struct Prod {
  static constexpr bool kSums = false;
  template <class V>
  TW_INLINE static V combine(V a, V b) {
    return a * b;
  }
};
struct Min {
  static constexpr bool kSums = false;
  template <class V>
  TW_INLINE static V combine(V a, V b) {
    return select((b < a) | (a != a), b, a);
  }
};
struct Max {
  static constexpr bool kSums = false;
  template <class V>
  TW_INLINE static V combine(V a, V b) {
    return select((b > a) | (a != a), b, a);
  }
};

// ---- Loops
// ---------------------------------------------------------------------------------------

template <class Element>
struct UnitAccumulator {
  static constexpr int kVectors = kUnitVectors * Element::kParts;
  using V = Vec<typename Element::Lane>;
  using Raw = Vec<typename Element::Stored>;
  V v[kVectors];

  TW_INLINE void load(const Byte* from) {
#pragma GCC unroll 4
    for (int i = 0; i < kUnitVectors; ++i)
      Element::widen(load_vector<Raw>(from + i * Target::kVectorBytes), v + i * Element::kParts);
  }
  /// The product is rounded to the stored type, wherever along the way it is computed.
  TW_INLINE void scale(uint64_t factor) {
    typename Element::Stored one;
    __builtin_memcpy(&one, &factor, sizeof one);
    V wide[Element::kParts];
    Element::widen(Raw{} + one, wide);
#pragma GCC unroll 4
    for (int i = 0; i < kUnitVectors; ++i) {
      V* part = v + i * Element::kParts;
      for (int p = 0; p < Element::kParts; ++p) part[p] *= wide[p];
      Element::widen(Element::narrow(part), part);
    }
  }
  template <class Op>
  TW_INLINE void combine(const UnitAccumulator& other) {
#pragma GCC unroll 16
    for (int i = 0; i < kVectors; ++i) v[i] = Op::combine(v[i], other.v[i]);
  }
  /// Averages of integers do not come here: see average_loop.
  TW_INLINE void divide(int by) {
    using Lane = typename Element::Lane;
    if constexpr (std::is_floating_point_v<Lane>) {
#pragma GCC unroll 16
      for (int i = 0; i < kVectors; ++i) v[i] /= splat<V>(static_cast<Lane>(by));
    }
  }
  TW_INLINE void store(Byte* to, bool stream) const {
#pragma GCC unroll 4
    for (int i = 0; i < kUnitVectors; ++i) {
      const Raw raw = Element::narrow(v + i * Element::kParts);
      if (stream) {
        stream_vector(to + i * Target::kVectorBytes, raw);
      } else {
        store_vector(to + i * Target::kVectorBytes, raw);
      }
    }
  }
};

TW_INLINE bool can_stream(const Operands& o, int d) {
  return kHasStream && (o.stream >> d & 1) != 0 && to_boundary(o.destination[d]) == 0;
}

/// Reduces `units` neighbouring units at byte offset `at`.
template <class Element, class Op, int units>
TW_INLINE void reduce_units(const Operands& o, size_t at) {
  UnitAccumulator<Element> sum[units];
#pragma GCC unroll 4
  for (int u = 0; u < units; ++u) sum[u].load(o.source[0] + at + u * kUnit);
  if (Op::kSums && __builtin_expect((o.scaled & 1) != 0, 0)) {
    for (int u = 0; u < units; ++u) sum[u].scale(o.factor[0]);
  }
  for (int s = 1; s < o.sources; ++s) {
    UnitAccumulator<Element> next;
#pragma GCC unroll 4
    for (int u = 0; u < units; ++u) {
      next.load(o.source[s] + at + u * kUnit);
      if (Op::kSums && __builtin_expect((o.scaled >> s & 1) != 0, 0)) next.scale(o.factor[s]);
      sum[u].template combine<Op>(next);
    }
  }
  if (Op::kSums && o.average) {
    for (int u = 0; u < units; ++u) sum[u].divide(o.sources);
  }
  for (int d = 0; d < o.destinations; ++d) {
    const bool stream = can_stream(o, d);
#pragma GCC unroll 4
    for (int u = 0; u < units; ++u) sum[u].store(o.destination[d] + at + u * kUnit, stream);
  }
}

using UnitReducer = void (*)(const Operands& operands, size_t at);

/// The last `bytes` < 64 bytes at offset `at`, through padded copies.
TW_FN void reduce_tail(const Operands& o, size_t at, size_t bytes, UnitReducer unit) {
  Byte in[kMaxRanks * kUnit] __attribute__((aligned(kUnit)));
  Byte out[kUnit] __attribute__((aligned(kUnit)));
  const Byte* source[kMaxRanks];
  Byte* const destination[] = {out};
  for (int s = 0; s < o.sources; ++s) {
    Byte* copy = in + s * kUnit;
    clear_unit(copy);
    copy_small(copy, o.source[s] + at, bytes);
    source[s] = copy;
  }
  unit({source, destination, o.factor, o.scaled, 0, o.sources, 1, o.average}, 0);
  for (int d = 0; d < o.destinations; ++d) copy_small(o.destination[d] + at, out, bytes);
}

template <class Element, class Op>
__attribute__((noinline)) void reduce_one_unit(const Operands& o, size_t at) {
  reduce_units<Element, Op, 1>(o, at);
}

template <class Element, class Op>
void reduce_loop(const Operands& o, size_t bytes) {
  // Four accumulator registers hide the latency of an addition; more would not all stay in
  // registers.
  constexpr int kVectors = UnitAccumulator<Element>::kVectors;
  constexpr int kUnits = kVectors < 4 ? 4 / kVectors : 1;
  size_t at = 0;
  for (; at + kUnits * kUnit <= bytes; at += kUnits * kUnit)
    reduce_units<Element, Op, kUnits>(o, at);
  for (; at + kUnit <= bytes; at += kUnit) reduce_one_unit<Element, Op>(o, at);
  if (at < bytes) reduce_tail(o, at, bytes - at, reduce_one_unit<Element, Op>);
}

/// Averages of integers: the sum is taken in 64 bits, the quotient truncated towards zero.
template <class T>
void average_loop(const Operands& o, size_t bytes) {
  using Wide = std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>;
  for (size_t at = 0; at < bytes; at += sizeof(T)) {
    uint64_t sum = 0;
    for (int s = 0; s < o.sources; ++s) {
      T x;
      __builtin_memcpy(&x, o.source[s] + at, sizeof x);
      sum += static_cast<uint64_t>(static_cast<Wide>(x));
    }
    const T mean = static_cast<T>(static_cast<Wide>(sum) / static_cast<Wide>(o.sources));
    for (int d = 0; d < o.destinations; ++d)
      __builtin_memcpy(o.destination[d] + at, &mean, sizeof mean);
  }
}

// ---- Run-time type and op
// ------------------------------------------------------------------------

template <class Element>
TW_FN ReduceLoop loop_of_op(tw_op_t op) {
  switch (op) {
    case TW_PROD:
      return reduce_loop<Element, Prod>;
    case TW_MIN:
      return reduce_loop<Element, Min>;
    case TW_MAX:
      return reduce_loop<Element, Max>;
    default:
      return reduce_loop<Element, Sum>;
  }
}

/// Sums and products of signed integers wrap, hence are computed as unsigned.
template <class T, class Unsigned>
TW_FN ReduceLoop loop_of_integer_op(tw_op_t op) {
  switch (op) {
    case TW_AVG:
      return average_loop<T>;
    case TW_MIN:
      return reduce_loop<Plain<T>, Min>;
    case TW_MAX:
      return reduce_loop<Plain<T>, Max>;
    case TW_PROD:
      return reduce_loop<Plain<Unsigned>, Prod>;
    default:
      return reduce_loop<Plain<Unsigned>, Sum>;
  }
}

ReduceLoop reduce_loop_of(tw_type_t type, tw_op_t op) {
  switch (type) {
    case TW_INT8:
      return loop_of_integer_op<int8_t, uint8_t>(op);
    case TW_UINT8:
      return loop_of_integer_op<uint8_t, uint8_t>(op);
    case TW_INT32:
      return loop_of_integer_op<int32_t, uint32_t>(op);
    case TW_UINT32:
      return loop_of_integer_op<uint32_t, uint32_t>(op);
    case TW_INT64:
      return loop_of_integer_op<int64_t, uint64_t>(op);
    case TW_UINT64:
      return loop_of_integer_op<uint64_t, uint64_t>(op);
    case TW_FP16:
      return loop_of_op<Small<uint16_t, Fp16>>(op);
    case TW_BF16:
      return loop_of_op<SmallBf16>(op);
    case TW_FP64:
      return loop_of_op<Plain<double>>(op);
    case TW_FP8_E4M3:
      return loop_of_op<Small<uint8_t, Fp8E4m3>>(op);
    case TW_FP8_E5M2:
      return loop_of_op<Small<uint8_t, Fp8E5m2>>(op);
    default:
      return loop_of_op<Plain<float>>(op);
  }
}

}  // namespace TW_NS
