// Lines: n fp32 numbers in memory, and what epilogues and row ops do to them. Loops over vectors; a
// tail is a vector of which some lanes are not used, so it gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/cpu/tile_elements.h"
#include "tilewire/tile/impl/cpu/tile_math.h"
#include "tilewire/tile/matrix.h"

namespace TW_NS {

/// line[i] = f(line[i], i, lanes) for each vector.
template <class F>
TW_INLINE void change_line(float* line, size_t n, F f) {
  for_lanes(n, [&](size_t i, size_t lanes) {
    store_some<TW_FP32>(line + i, f(load_some<TW_FP32>(line + i, lanes), i, lanes), lanes);
  });
}

TW_FN void load_line(float* line, const void* from, tw_type_t type, size_t n) {
  const char* const at = static_cast<const char*>(from);
  with_type(type, [&](auto t) {
    for_lanes(n, [&](size_t i, size_t lanes) {
      store_some<TW_FP32>(line + i, load_some<t.kType>(at + i * t.kBytes, lanes), lanes);
    });
  });
}

TW_FN void store_line(void* to, const float* line, tw_type_t type, size_t n) {
  char* const at = static_cast<char*>(to);
  with_type(type, [&](auto t) {
    for_lanes(n, [&](size_t i, size_t lanes) {
      store_some<t.kType>(at + i * t.kBytes, load_some<TW_FP32>(line + i, lanes), lanes);
    });
  });
}

TW_FN void add_line(float* line, const void* from, tw_type_t type, size_t n) {
  const char* const at = static_cast<const char*>(from);
  with_type(type, [&](auto t) {
    change_line(line, n, [&](Floats x, size_t i, size_t lanes) {
      return x + load_some<t.kType>(at + i * t.kBytes, lanes);
    });
  });
}

TW_FN void multiply_line(float* line, const void* by, tw_type_t type, size_t n) {
  const char* const at = static_cast<const char*>(by);
  with_type(type, [&](auto t) {
    change_line(line, n, [&](Floats x, size_t i, size_t lanes) {
      return x * load_some<t.kType>(at + i * t.kBytes, lanes);
    });
  });
}

TW_FN void scale_line(float* line, float by, size_t n) {
  change_line(line, n, [&](Floats x, size_t, size_t) { return x * by; });
}

TW_FN void round_line(float* line, tw_type_t type, size_t n) {
  if (type == TW_FP32) return;
  with_type(type, [&](auto t) {
    change_line(line, n, [&](Floats x, size_t, size_t) { return round_floats<t.kType>(x); });
  });
}

/// Pairs (i, i + half) turned by the angles whose cosines and sines these are.
TW_FN void rotate_line(float* line, const float* cosines, const float* sines, size_t half) {
  for_lanes(half, [&](size_t i, size_t lanes) {
    const Floats a = load_some<TW_FP32>(line + i, lanes);
    const Floats b = load_some<TW_FP32>(line + half + i, lanes);
    const Floats c = load_some<TW_FP32>(cosines + i, lanes);
    const Floats s = load_some<TW_FP32>(sines + i, lanes);
    store_some<TW_FP32>(line + i, a * c - b * s, lanes);
    store_some<TW_FP32>(line + half + i, b * c + a * s, lanes);
  });
}

template <Activation activation>
TW_FN void activate_line_as(float* line, size_t n) {
  change_line(line, n,
              [](Floats x, size_t, size_t) { return activated<activation, Floats, Words>(x); });
}
TW_FN void activate_line(float* line, Activation activation, size_t n) {
  switch (activation) {
    case Activation::kGelu:
      return activate_line_as<Activation::kGelu>(line, n);
    case Activation::kGeluTanh:
      return activate_line_as<Activation::kGeluTanh>(line, n);
    case Activation::kSilu:
      return activate_line_as<Activation::kSilu>(line, n);
    default:
      return;
  }
}

/// line = silu(line) * up.
TW_FN void swiglu_line(float* line, const float* up, size_t n) {
  change_line(line, n, [&](Floats x, size_t i, size_t lanes) {
    return activated<Activation::kSilu, Floats, Words>(x) * load_some<TW_FP32>(up + i, lanes);
  });
}

/// The sum of f(x): lane l of vector v goes to partial sum (v % 4, l), which are added in pairs.
template <class F>
TW_INLINE float sum_line(const float* line, size_t n, F f) {
  constexpr size_t kChains = 4;
  Floats sums[kChains] = {};
  size_t i = 0;
  for (; i + kChains * kLanes <= n; i += kChains * kLanes)
    for (size_t c = 0; c < kChains; ++c) sums[c] += f(load_vector<Floats>(line + i + c * kLanes));
  for (size_t c = 0; i < n; ++c) {
    const size_t lanes = n - i < kLanes ? n - i : kLanes;
    sums[c] += f(load_some<TW_FP32>(line + i, lanes));
    i += lanes;
  }
  const Floats all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  float lane[kLanes];
  store_vector(lane, all);
  for (size_t half = kLanes / 2; half != 0; half /= 2)
    for (size_t l = 0; l < half; ++l) lane[l] += lane[l + half];
  return lane[0];
}

TW_FN float most_of_line(const float* line, size_t n) {
  float most = line[0];
  size_t i = 1;
  if (n >= kLanes) {
    Floats best = load_vector<Floats>(line);
    for (i = kLanes; i + kLanes <= n; i += kLanes) {
      const Floats x = load_vector<Floats>(line + i);
      best = select(x > best, x, best);
    }
    for (size_t l = 0; l < kLanes; ++l) most = best[l] > most ? best[l] : most;
  }
  for (; i < n; ++i) most = line[i] > most ? line[i] : most;
  return most;
}

}  // namespace TW_NS
