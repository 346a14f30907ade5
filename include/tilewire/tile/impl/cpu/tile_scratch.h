// How a CPU block uses its scratch (tw_tile_view::scratch), and the sums of a tile in it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/grid.h"
#include "tilewire/tile/packed.h"
#include "tilewire/tile/target.h"
#include "tilewire/tile_device.h"

namespace TW_NS {

/// Columns of B are multiplied a panel (32) at a time. A tile's columns may begin inside a panel of
/// packed B, so a range of 256 touches up to nine.
inline constexpr size_t kMostPanels = kCpuTile.cols / kPanelCols + 1;

/// Bytes from the start of a block's scratch.
struct TileScratch {
  static constexpr size_t kHalfSums = kMostPanels * kCpuTile.rows * kPanelCols * sizeof(float);
  static constexpr size_t kSums = 0;
  static constexpr size_t kRightStep = kSums + 2 * kHalfSums;  // plain B, packed for one step
  static constexpr size_t kLeftStep = kRightStep + 2 * kCpuTile.cols * kCpuTile.k * sizeof(float);
  static constexpr size_t kLines = kLeftStep + kCpuTile.rows * kCpuTile.k * sizeof(float);
  static constexpr size_t kLine = kMostPanels * kPanelCols * sizeof(float);
  static constexpr size_t kEnd = kLines + 2 * kLine;  // one of each half
};
static_assert(TileScratch::kEnd <= kTileScratch && kTileScratch % 4096 == 0);

/// fp32 sums of a tile, by panels: row i of panel p of half h at half[h] + (p * panel_rows + i) *
/// 32, element (i, j) of the tile in panel (skip[h] + j) / 32.
struct CpuAccumulator {
  float* half[2];
  Tile tile;
  RowPart only;       // what is reduced and stored
  size_t panel_rows;  // the tile's rows, rounded up to whole tile registers
  size_t skip[2];     // columns of the first panel that are left of the tile
  bool zero;          // nothing was added yet; memory is not written
  size_t added = 0;   // of K, by a step that took more than its share

  TW_FN int halves() const { return tile.pair == 0 ? 1 : 2; }
  TW_FN size_t panels(int h) const { return divide_up(skip[h] + tile.cols, kPanelCols); }
  TW_FN const float* row(int h, size_t panel, size_t i) const {
    return half[h] + (panel * panel_rows + i) * kPanelCols;
  }
  TW_FN float* row(int h, size_t panel, size_t i) {
    return half[h] + (panel * panel_rows + i) * kPanelCols;
  }
};

}  // namespace TW_NS
