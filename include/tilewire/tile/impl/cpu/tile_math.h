// The normal distribution, and the activations made of it and of exp, as in tile/math.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/math.h"
#include "tilewire/tile/matrix.h"
#include "tilewire/tile/types.h"

namespace TW_NS {

/// The share of the standard normal distribution below x. Relative error below 2e-6 for x > -5, and
/// absolute below 1e-12 from there on.
/// erfc(z) = e^(-z^2) t P(t), t = 1 / (1 + z / 2): P is a Chebyshev fit of degree 8 on z = 0 .. 14
/// (error 5.3e-8).
template <class F, class U>
TW_INLINE F normal_share(F x) {
  const F size = bits_as<F>(bits_as<U>(x) & 0x7fffffffu);
  const F t = 1.0f / (1.0f + size * 0.353553391f);
  F p = t * -0.06078072281f + 0.2925036193f;
  p = p * t + -0.5026363844f;
  p = p * t + 0.2944803575f;
  p = p * t + -0.03698936442f;
  p = p * t + 0.2066417922f;
  p = p * t + 0.242218152f;
  p = p * t + 0.2824812622f;
  p = p * t + 0.2820812353f;
  F power = x * x * -0.5f;
  power = select(power < -80.0f, splat_of<F>(-80.0f), power);  // what follows stays normal
  const F beyond = 0.5f * (exponential<F, U>(power) * t * p);
  return select(x < 0.0f, beyond, 1.0f - beyond);
}

/// No kSwiGlu: that is silu(g) * u, two sums.
template <Activation activation, class F, class U>
TW_INLINE F activated(F x) {
  if constexpr (activation == Activation::kGelu) {
    return x * normal_share<F, U>(x);
  } else if constexpr (activation == Activation::kGeluTanh) {
    // (1 + tanh u) / 2 = 1 / (1 + e^(-2u))
    const F twice = 1.59576912f * (x + 0.044715f * x * x * x);
    return x / (1.0f + exponential<F, U>(-twice));
  } else if constexpr (activation == Activation::kSilu || activation == Activation::kSwiGlu) {
    return x / (1.0f + exponential<F, U>(-x));
  } else {
    return x;
  }
}

}  // namespace TW_NS
