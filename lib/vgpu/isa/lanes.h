// Loops over a warp's lanes: vectors when all 32 are active, one by one when not.
#pragma once

#include <bit>
#include <cstdint>

#include "lib/vgpu/ptx/types.h"
#include "lib/vgpu/sim/warp.h"

namespace tw::vgpu {

// A destination may be one of the sources, lane by lane, and never overlaps one otherwise.
#if defined(__clang__)
#define TW_VGPU_VECTOR _Pragma("clang loop vectorize(assume_safety)")
#else
#define TW_VGPU_VECTOR _Pragma("GCC ivdep")
#endif

/// for each set bit of `lanes`: the statement that follows, with `lane`.
#define TW_VGPU_EACH(lane, lanes)                                \
  for (uint32_t left_ = (lanes); left_ != 0; left_ &= left_ - 1) \
    if (const int lane = std::countr_zero(left_); true)

/// d = f(lane) for the active lanes.
template <class D, class F>
inline void for_lanes(const Warp& warp, D* d, F f) {
  if (warp.active == kAllLanes) {
    TW_VGPU_VECTOR
    for (int lane = 0; lane < kLanes; ++lane) d[lane] = f(lane);
  } else {
    TW_VGPU_EACH(lane, warp.active) d[lane] = f(lane);
  }
}

/// d = F(a), for all active lanes.
template <class F, class D, class A>
Step map1(Warp& warp, const Op& op) {
  const A* a = warp.at<A>(op.a);
  for_lanes(warp, warp.at<D>(op.d), [=](int lane) { return static_cast<D>(F()(a[lane])); });
  return Step::kNext;
}

/// d = F(a, b).
template <class F, class D, class A, class B>
Step map2(Warp& warp, const Op& op) {
  const A* a = warp.at<A>(op.a);
  const B* b = warp.at<B>(op.b);
  for_lanes(warp, warp.at<D>(op.d),
            [=](int lane) { return static_cast<D>(F()(a[lane], b[lane])); });
  return Step::kNext;
}

/// d = F(a, b, c).
template <class F, class D, class A, class B, class C>
Step map3(Warp& warp, const Op& op) {
  const A* a = warp.at<A>(op.a);
  const B* b = warp.at<B>(op.b);
  const C* c = warp.at<C>(op.c);
  for_lanes(warp, warp.at<D>(op.d),
            [=](int lane) { return static_cast<D>(F()(a[lane], b[lane], c[lane])); });
  return Step::kNext;
}

/// d = F(a, b, c, e).
template <class F, class D, class A, class B, class C, class E>
Step map4(Warp& warp, const Op& op) {
  const A* a = warp.at<A>(op.a);
  const B* b = warp.at<B>(op.b);
  const C* c = warp.at<C>(op.c);
  const E* e = warp.at<E>(op.e);
  for_lanes(warp, warp.at<D>(op.d),
            [=](int lane) { return static_cast<D>(F()(a[lane], b[lane], c[lane], e[lane])); });
  return Step::kNext;
}

/// Map<F, T, ...> of the integer type that `type` is; null for another.
template <class F, int kSources, class T>
constexpr Run map_same() {
  if constexpr (kSources == 1) return map1<F, T, T>;
  if constexpr (kSources == 2) return map2<F, T, T, T>;
  if constexpr (kSources == 3) return map3<F, T, T, T, T>;
}

template <class F, int kSources>
Run map_integer(ptx::Type type) {
  switch (type) {
    case ptx::Type::kS16:
      return map_same<F, kSources, int16_t>();
    case ptx::Type::kU16:
      return map_same<F, kSources, uint16_t>();
    case ptx::Type::kS32:
      return map_same<F, kSources, int32_t>();
    case ptx::Type::kU32:
      return map_same<F, kSources, uint32_t>();
    case ptx::Type::kS64:
      return map_same<F, kSources, int64_t>();
    case ptx::Type::kU64:
      return map_same<F, kSources, uint64_t>();
    default:
      return nullptr;
  }
}

/// For what does not depend on the sign: by the width.
template <class F, int kSources>
Run map_bits(ptx::Type type) {
  switch (ptx::bytes_of(type)) {
    case 2:
      return map_same<F, kSources, uint16_t>();
    case 4:
      return map_same<F, kSources, uint32_t>();
    case 8:
      return map_same<F, kSources, uint64_t>();
    default:
      return nullptr;
  }
}

}  // namespace tw::vgpu
