// Elements of bf16, fp16 and fp32 memory as vectors of fp32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/cpu/vector.h"
#include "tilewire/tile/packed.h"
#include "tilewire/tile/types.h"

namespace TW_NS {

using Floats = Vec<float>;
using Words = Vec<uint32_t>;
using Halves = VecOf<uint16_t, Target::kVectorBytes / 2>::type;
inline constexpr size_t kLanes = Target::kVectorBytes / sizeof(float);

template <tw_type_t type>
TW_INLINE Floats load_floats(const void* from) {
  if constexpr (type == TW_FP32) {
    return load_vector<Floats>(from);
  } else if constexpr (type == TW_BF16) {
    const Words words = __builtin_convertvector(load_vector<Halves>(from), Words);
    return bits_as<Floats>(words << 16);
  } else {
#if defined(TW_TARGET_VECTOR_512)
    return bits_as<Floats>(
        _mm512_maskz_cvtph_ps(0xffff, bits_as<__m256i>(load_vector<Halves>(from))));
#elif defined(TW_TARGET_VECTOR_256)
    return bits_as<Floats>(_mm256_cvtph_ps(bits_as<__m128i>(load_vector<Halves>(from))));
#else
    return Fp16::widen<Floats>(Words(__builtin_convertvector(load_vector<Halves>(from), Words)));
#endif
  }
}

template <tw_type_t type>
TW_INLINE void store_floats(void* to, Floats value) {
  if constexpr (type == TW_FP32) {
    store_vector(to, value);
  } else if constexpr (type == TW_BF16) {
    store_vector(to, __builtin_convertvector(Bf16::narrow<Floats, Words>(value), Halves));
  } else {
    store_vector(to, __builtin_convertvector(Fp16::narrow<Floats, Words>(value), Halves));
  }
}

/// The first `n` <= kLanes elements; the other lanes are 0.
template <tw_type_t type>
TW_INLINE Floats load_some(const void* from, size_t n) {
  if (n == kLanes) return load_floats<type>(from);
  Byte padded[kUnit] = {};
  copy_small(padded, static_cast<const Byte*>(from), n * packed_element(type));
  return load_floats<type>(padded);
}
template <tw_type_t type>
TW_INLINE void store_some(void* to, Floats value, size_t n) {
  if (n == kLanes) return store_floats<type>(to, value);
  Byte padded[kUnit] = {};
  store_floats<type>(padded, value);
  copy_small(static_cast<Byte*>(to), padded, n * packed_element(type));
}

template <tw_type_t type>
TW_INLINE Floats round_floats(Floats value) {
  if constexpr (type == TW_FP32) return value;
  if constexpr (type == TW_BF16)
    return bits_as<Floats>(Bf16::narrow_high<Floats, Words>(value) & 0xffff0000u);
  Byte stored[kLanes * packed_element(type)];
  store_floats<type>(stored, value);
  return load_floats<type>(stored);
}

/// body(i, count) for each vector's worth of n elements.
template <class Body>
TW_INLINE void for_lanes(size_t n, Body body) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, kLanes);
  if (i < n) body(i, n - i);
}

template <tw_type_t type>
struct TypeOf {
  static constexpr tw_type_t kType = type;
  static constexpr size_t kBytes = packed_element(type);
};
/// f(TypeOf<type>): once a row, so that loops know the type.
template <class F>
TW_INLINE void with_type(tw_type_t type, F f) {
  switch (type) {
    case TW_BF16:
      return f(TypeOf<TW_BF16>{});
    case TW_FP16:
      return f(TypeOf<TW_FP16>{});
    default:
      return f(TypeOf<TW_FP32>{});
  }
}

}  // namespace TW_NS
