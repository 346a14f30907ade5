// How a matrix of results is cut into tiles, and in which order they are visited. Shared by host
// and kernels: index arithmetic of tiles exists here only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace tw {

/// Ranks that a fused op may have.
inline constexpr int kMaxFusedRanks = 16;

/// Result tiles of the targets: most rows and columns, and elements of K in one multiply step.
/// A grid may use smaller tiles; the step is fixed, and no result's bits depend on any of it.
struct TileShape {
  uint32_t rows, cols, k;
};
inline constexpr TileShape kCpuTile{512, 256, 512};
inline constexpr TileShape kGpuTile{128, 128, 64};

constexpr size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }

/// A dimension cut into segments, one for each owner (rank), and each of them into tiles of `step`,
/// so that a tile has one owner. Segments may be empty.
struct Segments {
  int count;
  uint32_t step;
  size_t begin[kMaxFusedRanks + 1];   // in elements; begin[count] is the whole
  uint32_t tile[kMaxFusedRanks + 1];  // number of the first tile of a segment

  constexpr uint32_t tiles() const { return tile[count]; }
  constexpr size_t total() const { return begin[count]; }
  constexpr size_t size(int owner) const { return begin[owner + 1] - begin[owner]; }
  [[gnu::always_inline]] constexpr int owner_of(uint32_t t) const {
    int owner = 0;
    while (t >= tile[owner + 1]) ++owner;
    return owner;
  }
  /// Whose element `i` of the dimension is, and which tile has it.
  [[gnu::always_inline]] constexpr int owner_of_element(size_t i) const {
    int owner = 0;
    while (i >= begin[owner + 1]) ++owner;
    return owner;
  }
  [[gnu::always_inline]] constexpr uint32_t tile_of(size_t i) const {
    const int owner = owner_of_element(i);
    return tile[owner] + static_cast<uint32_t>((i - begin[owner]) / step);
  }
  [[gnu::always_inline]] constexpr size_t tile_begin(int owner, uint32_t t) const {
    return begin[owner] + static_cast<size_t>(t - tile[owner]) * step;
  }
  [[gnu::always_inline]] constexpr size_t tile_size(int owner, uint32_t t) const {
    const size_t left = begin[owner + 1] - tile_begin(owner, t);
    return left < step ? left : step;
  }
};

/// Segments of `sizes[0 .. count - 1]`.
constexpr Segments segments_of(const size_t* sizes, int count, uint32_t step) {
  Segments s{};
  s.count = count;
  s.step = step;
  for (int i = 0; i < count; ++i) {
    s.begin[i + 1] = s.begin[i] + sizes[i];
    s.tile[i + 1] = s.tile[i] + static_cast<uint32_t>(divide_up(sizes[i], step));
  }
  return s;
}

/// `size` as one segment that nobody in particular owns.
constexpr Segments whole(size_t size, uint32_t step) { return segments_of(&size, 1, step); }

/// One tile of results. With `pair` != 0 its sums are of two column ranges of B, as SwiGLU wants:
/// [col, col + cols) and [pair + col, pair + col + cols).
struct Tile {
  uint32_t id;  // TileGrid::id
  uint32_t row_tile, col_tile;
  size_t row, rows;
  size_t col, cols;
  size_t pair;
  int row_owner, col_owner;
};

/// Rows first .. first + rows - 1 of a tile.
struct RowPart {
  uint32_t first, rows;
};
/// The rows of a tile that are `owner`'s, where segments of `rows` have owners.
[[gnu::always_inline]] constexpr RowPart row_part(const Segments& rows, int owner,
                                                  const Tile& tile) {
  const size_t begin = rows.begin[owner] > tile.row ? rows.begin[owner] : tile.row;
  const size_t tile_end = tile.row + tile.rows;
  const size_t end = rows.begin[owner + 1] < tile_end ? rows.begin[owner + 1] : tile_end;
  if (begin >= end) return {0, 0};
  return {static_cast<uint32_t>(begin - tile.row), static_cast<uint32_t>(end - begin)};
}
[[gnu::always_inline]] constexpr RowPart all_rows(const Tile& tile) {
  return {0, static_cast<uint32_t>(tile.rows)};
}

enum class Raster : uint32_t {
  kRowsOuter,  // all columns of one row of tiles, then the next: A stays near
  kColsOuter,  // all rows of one column of tiles, then the next: B is read once
};

/// A range of tile numbers of one dimension.
struct TileRange {
  uint32_t begin, end;
  constexpr uint32_t size() const { return end - begin; }
};

struct TileGrid;

/// Tiles of a grid that a loop visits: all, or those of one owner's rows or columns. A value for
/// kernels; the grid lives elsewhere.
struct TilePart {
  const TileGrid* grid;
  TileRange rows, cols;

  constexpr uint32_t tiles() const { return rows.size() * cols.size(); }
  /// The tile that is visited as number `index`.
  [[gnu::always_inline]] constexpr Tile at(uint32_t index) const;
};

struct TileGrid {
  Segments rows, cols;
  size_t pair;
  Raster raster;
  int first_row_owner;  // whose rows are visited first, the others follow in turn; the whole only
  int first_col_owner;

  constexpr uint32_t tiles() const { return rows.tiles() * cols.tiles(); }

  constexpr operator TilePart() const {  // NOLINT(google-explicit-constructor): a part is all
    return {this, {0, rows.tiles()}, {0, cols.tiles()}};
  }
  /// The tile that is visited as number `index`.
  [[gnu::always_inline]] constexpr Tile at(uint32_t index) const {
    return TilePart(*this).at(index);
  }

  /// The tile in row `r` and column `c` of tiles. Inlined always, as `at`: no target's copy stands
  /// in for another's.
  [[gnu::always_inline]] constexpr Tile tile(uint32_t r, uint32_t c) const {
    const int row_owner = rows.owner_of(r), col_owner = cols.owner_of(c);
    return {id(r, c),
            r,
            c,
            rows.tile_begin(row_owner, r),
            rows.tile_size(row_owner, r),
            cols.tile_begin(col_owner, c),
            cols.tile_size(col_owner, c),
            pair,
            row_owner,
            col_owner};
  }

  /// Number of a tile among those of its owner, from 0.
  [[gnu::always_inline]] constexpr uint32_t number(const Tile& tile) const {
    if (cols.count <= 1) return tile.id - id(rows.tile[tile.row_owner], 0);
    const uint32_t first = cols.tile[tile.col_owner], end = cols.tile[tile.col_owner + 1];
    return tile.row_tile * (end - first) + tile.col_tile - first;
  }

  /// Number of a tile in the whole grid: the same on all ranks, whatever part they visit and how.
  constexpr uint32_t id(uint32_t r, uint32_t c) const { return r * cols.tiles() + c; }
  /// Ids are below it.
  constexpr uint32_t ids() const { return rows.tiles() * cols.tiles(); }

  /// The tiles in one owner's rows (columns).
  constexpr TilePart rows_of(int owner) const {
    return {this, {rows.tile[owner], rows.tile[owner + 1]}, {0, cols.tiles()}};
  }
  constexpr TilePart cols_of(int owner) const {
    return {this, {0, rows.tiles()}, {cols.tile[owner], cols.tile[owner + 1]}};
  }

  /// The i-th tile number of `range`, when segment `first` comes first.
  [[gnu::always_inline]] static constexpr uint32_t turned(const Segments& s, TileRange range,
                                                          int first, uint32_t i) {
    if (range.size() != s.tiles()) return range.begin + i;
    const uint32_t t = i + s.tile[first];
    return t < s.tiles() ? t : t - s.tiles();
  }
};

[[gnu::always_inline]] constexpr Tile TilePart::at(uint32_t index) const {
  const TileGrid& g = *grid;
  const bool outer_rows = g.raster == Raster::kRowsOuter;
  const uint32_t inner = outer_rows ? cols.size() : rows.size();
  const uint32_t outer_index = index / inner, inner_index = index % inner;
  return g.tile(
      TileGrid::turned(g.rows, rows, g.first_row_owner, outer_rows ? outer_index : inner_index),
      TileGrid::turned(g.cols, cols, g.first_col_owner, outer_rows ? inner_index : outer_index));
}

/// All of it, the first owner's first.
constexpr TileGrid tile_grid(const Segments& rows, const Segments& cols, Raster raster,
                             size_t pair = 0) {
  return {rows, cols, pair, raster, 0, 0};
}
static_assert(std::is_trivially_copyable_v<TileGrid>);

}  // namespace tw
