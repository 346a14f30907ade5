// A tile's sums, or some rows of them, as they travel between ranks. A slot has the tile's columns
// in chunks of 32, the second half's after the first's; in a chunk the rows, one after the other.
// That is how sums lie in scratch, so a chunk is one run of both.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/cpu/tile_elements.h"
#include "tilewire/tile/impl/cpu/tile_scratch.h"

namespace TW_NS {

TW_FN void clear_half(const CpuAccumulator& sum, int h) {
  const size_t count = sum.panels(h) * sum.panel_rows * kPanelCols;
  for (size_t i = 0; i < count; ++i) sum.half[h][i] = 0;
}

/// Writes the zeros of a sum to which nothing was added.
TW_FN void clear(const CpuAccumulator& sum) {
  clear_half(sum, 0);
  if (sum.halves() == 2) clear_half(sum, 1);
}

/// Columns first .. first + 31 of a row whose tile does not begin with a panel, as far as they
/// exist, to (`out`) or from a line.
template <bool out>
TW_FN void move_shifted(CpuAccumulator& sum, int h, size_t i, size_t first, float* line) {
  for (size_t j = 0; j < kPanelCols && first + j < sum.tile.cols; ++j) {
    const size_t at = sum.skip[h] + first + j;
    float& x = sum.row(h, at / kPanelCols, i)[at % kPanelCols];
    if constexpr (out)
      line[j] = x;
    else
      x = line[j];
  }
}

/// f(x, at, n) for runs of the sums of `part`: x[0 .. n-1], n a multiple of 32, belong at elements
/// at .. of a slot, and may be changed.
template <class F>
TW_INLINE void each_run(CpuAccumulator& sum, const RowPart& part, F f) {
  const size_t chunks = divide_up(sum.tile.cols, kPanelCols);
  for (int h = 0; h < sum.halves(); ++h)
    for (size_t c = 0; c < chunks; ++c) {
      const size_t chunk = (static_cast<size_t>(h) * chunks + c) * part.rows;
      if (sum.skip[h] == 0) {
        f(sum.row(h, c, part.first), chunk * kPanelCols, part.rows * kPanelCols);
        continue;
      }
      for (size_t i = 0; i < part.rows; ++i) {
        float line[kPanelCols] = {};
        move_shifted<true>(sum, h, part.first + i, c * kPanelCols, line);
        f(line, (chunk + i) * kPanelCols, kPanelCols);
        move_shifted<false>(sum, h, part.first + i, c * kPanelCols, line);
      }
    }
}

/// x[i] = the rounded sum over r = 0 .. ranks - 1, in that order, of from[r][i], or of the rounded
/// x[i] itself where from[r] is null. n: a multiple of 32.
template <tw_type_t type>
TW_FN void add_partials(float* x, size_t n, const char* const* from, int ranks) {
  for (size_t i = 0; i < n; i += kLanes) {
    const Floats own = round_floats<type>(load_vector<Floats>(x + i));
    const auto addend = [&](int r) {
      return from[r] == nullptr ? own : load_floats<type>(from[r] + i * packed_element(type));
    };
    Floats total = addend(0);
    for (int r = 1; r < ranks; ++r) total += addend(r);
    store_vector(x + i, round_floats<type>(total));
  }
}

}  // namespace TW_NS
