// Rows of a tile's sums as lines, and the epilogue on them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/cpu/tile_lines.h"
#include "tilewire/tile/impl/cpu/tile_scratch.h"
#include "tilewire/tile/matrix.h"

namespace TW_NS {

class SumLines {
 public:
  TW_FN SumLines(const CpuAccumulator& sum, char* scratch)
      : sum_(sum), lines_(reinterpret_cast<float*>(scratch + TileScratch::kLines)) {}

  /// Row i of half h, in a line of its own.
  TW_FN float* load(int h, size_t i) {
    float* const to = line(h);
    each_part(h, [&](size_t panel, size_t from, size_t at, size_t n) {
      copy(to + at, sum_.row(h, panel, i) + from, n);
    });
    return to;
  }

  /// Row i after the epilogue, not yet rounded.
  TW_FN const float* result(size_t i, const Epilogue& e) {
    const size_t n = sum_.tile.cols, col = sum_.tile.col;
    if (e.activation == Activation::kSwiGlu && e.bias == nullptr && e.residual.data == nullptr &&
        sum_.skip[0] == sum_.skip[1])
      return swiglu(i);
    float* const x = load(0, i);
    if (e.bias != nullptr) add_line(x, element(e.bias, e.type, col), e.type, n);
    if (e.activation == Activation::kSwiGlu) {
      float* const up = load(1, i);
      if (e.bias != nullptr) add_line(up, element(e.bias, e.type, sum_.tile.pair + col), e.type, n);
      swiglu_line(x, up, n);
    } else {
      activate_line(x, e.activation, n);
    }
    if (e.residual.data != nullptr)
      add_line(x, e.residual.at(sum_.tile.row + i - e.first_row, col).data, e.type, n);
    return x;
  }

 private:
  /// silu(row i of half 0) * row i of half 1.
  TW_FN const float* swiglu(size_t i) {
    float* const to = line(0);
    each_part(0, [&](size_t panel, size_t from, size_t at, size_t n) {
      const float* const gate = sum_.row(0, panel, i) + from;
      const float* const up = sum_.row(1, panel, i) + from;
      for_lanes(n, [&](size_t l, size_t lanes) {
        const Floats x = load_some<TW_FP32>(gate + l, lanes);
        store_some<TW_FP32>(
            to + at + l,
            activated<Activation::kSilu, Floats, Words>(x) * load_some<TW_FP32>(up + l, lanes),
            lanes);
      });
    });
    return to;
  }
  TW_FN float* line(int i) {
    return lines_ + static_cast<size_t>(i) * (TileScratch::kLine / sizeof(float));
  }
  TW_FN static const char* element(const void* of, tw_type_t type, size_t i) {
    return static_cast<const char*>(of) + i * packed_element(type);
  }
  TW_FN static void copy(float* to, const float* from, size_t n) {
    for_lanes(n, [&](size_t i, size_t lanes) {
      store_some<TW_FP32>(to + i, load_some<TW_FP32>(from + i, lanes), lanes);
    });
  }
  /// f(panel, column in it, column in the tile, columns) for each part of a row.
  template <class F>
  TW_FN void each_part(int h, F f) {
    size_t first = sum_.skip[h];
    for (size_t at = 0, panel = 0; at < sum_.tile.cols; ++panel, first = 0) {
      const size_t left = sum_.tile.cols - at, room = kPanelCols - first;
      const size_t n = left < room ? left : room;
      f(panel, first, at, n);
      at += n;
    }
  }

  const CpuAccumulator& sum_;
  float* lines_;
};

}  // namespace TW_NS
