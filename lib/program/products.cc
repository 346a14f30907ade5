#include "lib/program/products.h"

#include <utility>
#include <vector>

#include "lib/base/parts.h"

namespace tw {
namespace {

constexpr size_t kFewRows = 16;  // products of so few read weights at memory speed

Segments row_segments(const ProgramRanks& ranks, const Product& p) {
  std::vector<size_t> sizes{p.rows};
  if (p.owned) {
    sizes.clear();
    for (int r = 0; r < ranks.ranks; ++r) sizes.push_back(owned_rows(p.rows, ranks.ranks, r).count);
  }
  const size_t most = *std::max_element(sizes.begin(), sizes.end());
  const size_t step = divide_up(divide_up(most, divide_up(most, kCpuTile.rows)), 16) * 16;
  return segments_of(sizes.data(), static_cast<int>(sizes.size()), static_cast<uint32_t>(step));
}

TileGrid grid_of(const ProgramRanks& ranks, const Product& p, int device) {
  const bool paired = p.own.epilogue.activation == Activation::kSwiGlu;
  const Segments rows = row_segments(ranks, p);
  const size_t cols = p.cols(device);
  const size_t wanted = static_cast<size_t>(ranks.workers == 1 ? 1 : 2 * ranks.workers);
  size_t step = kCpuTile.cols / (paired && p.rows > kFewRows ? 2 : 1);
  while (step > 64 && rows.tiles() * divide_up(cols, step) < wanted) step /= 2;
  return tile_grid(rows, whole(cols, static_cast<uint32_t>(step)), Raster::kRowsOuter,
                   paired ? cols : 0);
}

void add_tile(ProgramBuilder* builder, int ranks, const Product& p, int op, int device,
              const Tile& tile) {
  const uint32_t receivers = p.receivers(device, tile);
  std::vector<Access> accesses = p.reads(device, tile);
  for (int q = 0; q < ranks; ++q)
    if ((receivers >> q & 1) != 0) accesses.push_back({p.to(device, q, tile), true});
  builder->add(device, op, {tile.row_tile, tile.col_tile, receivers, 0}, std::move(accesses));
}

}  // namespace

RowRange owned_rows(uint32_t rows, int ranks, int device) {
  const auto begin = nearly_equal_parts(rows, ranks);
  const auto d = static_cast<size_t>(device);
  return {static_cast<uint32_t>(begin[d]), static_cast<uint32_t>(begin[d + 1] - begin[d])};
}

int add_product(ProgramBuilder* builder, const ProgramRanks& ranks, uint32_t kind, Product p) {
  p.own.grid = grid_of(ranks, p, ranks.rank);
  const int op = builder->op(p.name, kind, p.layer, Order::kInPlace, p.own);
  std::vector<TileGrid> grids;
  uint32_t most_cols = 0;
  for (int d = 0; d < ranks.ranks; ++d) {
    grids.push_back(grid_of(ranks, p, d));
    most_cols = std::max(most_cols, grids.back().cols.tiles());
  }
  const uint32_t row_tiles = grids[0].rows.tiles();
  for (uint32_t i = 0; i < row_tiles; ++i)
    for (uint32_t col = 0; col < most_cols; ++col)
      for (int d = 0; d < ranks.ranks; ++d) {
        const TileGrid& g = grids[static_cast<size_t>(d)];
        if (col >= g.cols.tiles()) continue;
        const int first_owner = p.to_peers ? (d + 1) % ranks.ranks : d;
        const uint32_t first = p.owned ? g.rows.tile[first_owner] : 0;
        add_tile(builder, ranks.ranks, p, op, d, g.tile((first + i) % row_tiles, col));
      }
  return op;
}

}  // namespace tw
