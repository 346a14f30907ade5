// Sizes and places in whole units.
#pragma once

#include <cstddef>

namespace tw {

/// The least multiple of `unit` that is `size` or more. The caller keeps clear of SIZE_MAX.
constexpr size_t round_up(size_t size, size_t unit) { return (size + unit - 1) / unit * unit; }

}  // namespace tw
