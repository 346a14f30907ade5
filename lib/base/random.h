// Random bytes from the system, for names and keys that nobody may guess.
#pragma once

#include <sodium.h>

#include <cstddef>
#include <type_traits>

namespace tw {

/// A random value of a plain type.
template <class T>
T random_value() {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  randombytes_buf(&value, sizeof value);
  return value;
}

}  // namespace tw
