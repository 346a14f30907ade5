// Cutting what there is among ranks.
#pragma once

#include <cstddef>
#include <vector>

namespace tw {

/// `units` whole units over `ranks`: the first unit of each rank, and the end.
inline std::vector<size_t> nearly_equal_parts(size_t units, int ranks) {
  const auto n = static_cast<size_t>(ranks);
  std::vector<size_t> begin(n + 1);
  for (size_t r = 0; r < n; ++r) begin[r + 1] = begin[r] + units / n + (r < units % n ? 1 : 0);
  return begin;
}

}  // namespace tw
