// C = epilogue(own rows of the sum over ranks of A B). Partial tiles go to the slots of their rows'
// owners as they are finished, peers' tiles first; each owner adds them in rank order.
//
// Own rows' tiles, which are multiplied last, take the peers' partials at once. Where tiles have
// rows of several owners (few rows: B is read once), each gets its part, the own one too, and they
// are added in a second loop.
//
// Signal slots: number of the tile among its owner's: its partial has come.
#include "tilewire/kernels/gemm.h"
#include "tilewire/tile/tile_call.h"
#include "tilewire/tile/tile_kernel.h"

namespace TW_NS {

template <class Block>
TW_FN void gemm_reduce_scatter(Block& block, const GemmReduceScatterArgs& args) {
  TileCall<Block> call(block, args.tiles);
  const TileGrid& grid = args.grid;
  const int self = call.rank();
  const bool mixed = grid.rows.count < args.owners.count;
  const auto slot = [&](int owner, int sender, const Tile& tile) {
    return call.data(owner, args.partials.at(sender, grid.number(tile)));
  };
  const auto finish = [&](const Tile& tile, auto& sum, const RowPart& own, int own_sum) {
    block.only_rows(sum, own);
    block.reduce(
        sum, call.size(), own_sum, [&](int r) { return slot(self, r, tile); }, args.partials.type);
    block.store(args.c.at(tile.row + own.first - args.owners.begin[self], tile.col), sum,
                args.epilogue);
  };

  for (const Tile tile : block.tiles(grid, 0)) {  // the next rank's rows first, own rows last
    auto sum = block.accumulator(tile);
    for (size_t k = 0; k < args.a.cols; k += Block::kTileK)
      block.mma(sum, args.a.at(tile.row, k), args.b.at(k, tile.col));
    if (!mixed && tile.row_owner == self) {
      call.wait_peers(grid.number(tile));
      finish(tile, sum, row_part(args.owners, self, tile), self);
    } else {
      call.meet();
      block.put_parts(
          call.size(), [&](int r) { return slot(r, self, tile); },
          [&](int r) { return row_part(args.owners, r, tile); }, sum, args.partials.type);
      call.signal_those(grid.number(tile),
                        [&](int r) { return row_part(args.owners, r, tile).rows != 0; });
    }
  }
  if (mixed)
    for (const Tile tile : block.tiles(grid, 1)) {
      const RowPart own = row_part(args.owners, self, tile);
      if (own.rows == 0) continue;
      call.wait_all(grid.number(tile));
      auto sum = block.accumulator(tile);
      finish(tile, sum, own, /*own_sum=*/-1);
    }
  call.close();
}
TW_TILE_KERNEL(gemm_reduce_scatter, GemmReduceScatterArgs)

}  // namespace TW_NS
