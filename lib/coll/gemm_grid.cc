#include "lib/coll/gemm_grid.h"

#include <algorithm>

#include "lib/base/round.h"

namespace tw {
namespace {

/// How a target's grids may be.
struct Rules {
  TileShape most;        // of a tile
  size_t col_unit;       // columns of what multiply steps are made of
  size_t tiles_a_block;  // wanted, so that blocks end at about the same time
};
constexpr size_t kRowUnit = 16;    // rows of the same
constexpr size_t kLeastRows = 64;  // of a tile that is cut for that
constexpr Rules kCpuRules{kCpuTile, 64, 4};
/// Tiles have all the columns that they can: images of B have as many.
constexpr Rules kGpuRules{kGpuTile, kGpuTile.cols, 1};
constexpr const Rules& rules_of(const Place& place) { return place.on_gpu ? kGpuRules : kCpuRules; }

constexpr size_t kRowTileBytes = size_t{64} << 10;  // of whole rows

/// `size` in equal steps of at most `most`, each a multiple of `unit`.
uint32_t equal_steps(size_t size, size_t most, size_t unit) {
  const size_t count = std::max<size_t>(1, divide_up(size, most));
  return static_cast<uint32_t>(std::max(unit, round_up(divide_up(size, count), unit)));
}

size_t tiles(const size_t* sizes, int n, size_t step) {
  size_t sum = 0;
  for (int i = 0; i < n; ++i) sum += divide_up(sizes[i], step);
  return sum;
}

/// Which dimensions tiles are cut by rank in, so that each has one owner.
struct Cut {
  bool rows, cols;
};

/// Rows that fit a tile are not cut by rank, so that B is read once, not once for each.
Cut cut_of(const GemmCall& call, bool by_owner, const Rules& rules) {
  const bool fit = call.m <= rules.most.rows;
  switch (call.op) {
    case GemmOp::kGemmAllToAll:
      return {true, true};
    case GemmOp::kAllGatherGemm:
      // Many rows of a rank hide a pass over B, and wait for nobody.
      return {!fit || largest(call.rows) > kFewRows, false};
    case GemmOp::kGemmReduceScatter:
      return {!fit, false};
    case GemmOp::kGemmAllReduce:
      // A norm wants whole rows.
      return {by_owner && !fit, by_owner && fit && call.norm_weight == nullptr};
    default:
      return {false, false};
  }
}

/// Columns by rank, in whole units.
RankSizes column_parts(size_t n, int ranks, size_t unit) {
  RankSizes sizes = nearly_equal(divide_up(n, unit), ranks);
  size_t left = n;
  for (int r = 0; r < ranks; ++r) {
    size_t& size = sizes[static_cast<size_t>(r)];
    size = std::min(left, size * unit);
    left -= size;
  }
  return sizes;
}

}  // namespace

TileGrid gemm_grid(const GemmCall& call, const Place& place, bool by_owner, int blocks) {
  const Rules& rules = rules_of(place);
  const Cut cut = cut_of(call, by_owner, rules);
  const int row_parts = cut.rows ? place.size : 1, col_parts = cut.cols ? place.size : 1;
  RankSizes row_sizes{call.m}, col_sizes{call.n};
  if (cut.rows) row_sizes = row_owners(call, place.size);
  if (cut.cols)
    col_sizes = call.op == GemmOp::kGemmAllToAll ? call.cols
                                                 : column_parts(call.n, place.size, rules.col_unit);
  // Rows that one rank multiplies.
  const size_t m = call.op == GemmOp::kGemmAllToAll ? largest(row_sizes) : call.m;
  size_t row_step = equal_steps(largest(row_sizes), rules.most.rows, kRowUnit);
  const size_t least_cols = rules.col_unit / (place.on_gpu && call.paired() ? 2 : 1);
  size_t col_step = m <= kFewRows ? least_cols : rules.most.cols / (call.paired() ? 2 : 1);
  const size_t wanted = static_cast<size_t>(blocks) * rules.tiles_a_block;
  const auto count = [&] {
    return tiles(row_sizes.data(), row_parts, row_step) *
           tiles(col_sizes.data(), col_parts, col_step);
  };
  while (count() < wanted && col_step > least_cols) col_step /= 2;
  while (count() < wanted && row_step >= 2 * kLeastRows)
    row_step = round_up(row_step / 2, kRowUnit);

  const Segments rows = segments_of(row_sizes.data(), row_parts, static_cast<uint32_t>(row_step));
  const Segments cols = segments_of(col_sizes.data(), col_parts, static_cast<uint32_t>(col_step));
  const bool cols_outer = m <= kFewRows || (!cut.rows && place.size > 1);
  TileGrid grid = tile_grid(rows, cols, cols_outer ? Raster::kColsOuter : Raster::kRowsOuter,
                            call.paired() ? call.n : 0);
  const int next = (place.rank + 1) % place.size;
  if (row_parts > 1) grid.first_row_owner = call.op == GemmOp::kAllGatherGemm ? place.rank : next;
  if (col_parts > 1) grid.first_col_owner = next;
  return grid;
}

size_t largest(const RankSizes& sizes) { return *std::ranges::max_element(sizes); }

RankSizes row_owners(const GemmCall& call, int ranks) {
  return call.op == GemmOp::kGemmAllReduce ? nearly_equal(call.m, ranks) : call.rows;
}

TileGrid row_grid(size_t m, size_t n, const Place& place, bool by_owner, int blocks) {
  const int parts = by_owner ? place.size : 1;
  const RankSizes sizes = nearly_equal(m, parts);
  const size_t each = divide_up(sizes[0], static_cast<size_t>(blocks));
  const size_t step =
      std::clamp<size_t>(kRowTileBytes / std::max<size_t>(1, 2 * n), 1, std::max<size_t>(1, each));
  const Segments rows = segments_of(sizes.data(), parts, static_cast<uint32_t>(step));
  const Segments cols = whole(n, static_cast<uint32_t>(std::max<size_t>(1, n)));
  TileGrid grid = tile_grid(rows, cols, Raster::kRowsOuter);
  if (by_owner) grid.first_row_owner = (place.rank + 1) % place.size;
  return grid;
}

size_t most_owned_tiles(const TileGrid& grid) {
  const auto most = [](const Segments& s) {
    size_t most = 0;
    for (int owner = 0; owner < s.count; ++owner)
      most = std::max<size_t>(most, s.tile[owner + 1] - s.tile[owner]);
    return most;
  };
  return most(grid.rows) * most(grid.cols);
}

}  // namespace tw
