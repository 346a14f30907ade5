// The inner loop of the tests' reference products.
#pragma once

#include <cstddef>
#include <cstring>

#include "tests/support/unseen.h"

namespace tw::test {

/// sums[j] += x * y[j] for j < n.
template <class T>
TW_UNSEEN void add_scaled(T* sums, T x, const T* y, size_t n) {
  // Vectors by hand: the compilers make none at the levels that tests are built with.
  typedef T Lanes __attribute__((vector_size(16)));
  constexpr size_t kLanes = sizeof(Lanes) / sizeof(T);
  size_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    Lanes s, v;
    std::memcpy(&s, sums + j, sizeof s);
    std::memcpy(&v, y + j, sizeof v);
    s += x * v;
    std::memcpy(sums + j, &s, sizeof s);
  }
  for (; j < n; ++j) sums[j] += x * y[j];
}

}  // namespace tw::test
