// The inner loop of the tests' reference products.
#pragma once

#include <cstddef>

namespace tw::test {

/// sums[j] += x * y[j] for j < n. Sanitizers do not look: only the caller has these, and they are
/// most of what many tests compute.
template <class T>
__attribute__((no_sanitize("thread"), no_sanitize("address"), no_sanitize("undefined"))) void
add_scaled(T* sums, T x, const T* y, size_t n) {
  for (size_t j = 0; j < n; ++j) sums[j] += x * y[j];
}

}  // namespace tw::test
