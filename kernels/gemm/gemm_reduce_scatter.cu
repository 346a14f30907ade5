// C = epilogue(own rows of the sum over ranks of A B). Partial tiles go to the slots of their rows'
// owners as they are finished, peers' tiles first; each owner adds them in rank order.
//
// A tile that has only own rows is added to where it was multiplied, when the peers' have come. One
// with rows of several owners (few rows: B is read once) goes to each of them, the own rows too,
// and is added in a second loop.
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
  const auto slot = [&](int owner, int sender, const Tile& tile) {
    return call.data(owner, args.partials.at(sender, grid.number(tile)));
  };
  const auto finish = [&](const Tile& tile, auto& sum, const RowPart& part, int own_sum) {
    block.reduce(
        sum, call.size(), own_sum, [&](int r) { return slot(self, r, tile); }, args.partials.type);
    block.store(args.c.at(tile.row + part.first - args.owners.begin[self], tile.col), sum,
                args.epilogue);
  };

  for (const Tile tile : block.tiles(grid, 0)) {  // the next rank's rows first, own rows last
    auto sum = block.accumulator(tile);
    for (size_t k = 0; k < args.a.cols; k += Block::kTileK)
      block.mma(sum, args.a.at(tile.row, k), args.b.at(k, tile.col));
    const RowPart own = row_part(args.owners, self, tile);
    if (own.rows == tile.rows) {
      call.wait_peers(grid.number(tile));
      finish(tile, sum, own, self);
      continue;
    }
    call.meet();
    for (int i = 1; i <= call.size(); ++i) {
      const int owner = call.peer(i);
      const RowPart part = row_part(args.owners, owner, tile);
      if (part.rows == 0) continue;
      block.only_rows(sum, part);
      block.put_all(
          1, [&](int) { return slot(owner, self, tile); }, nullptr, sum, args.partials.type);
      call.signal(owner, grid.number(tile));
    }
  }
  if (grid.rows.count < args.owners.count)
    for (const Tile tile : block.tiles(grid, 1)) {
      const RowPart own = row_part(args.owners, self, tile);
      if (own.rows == 0 || own.rows == tile.rows) continue;
      call.wait_all(grid.number(tile));
      auto sum = block.accumulator(tile);
      block.only_rows(sum, own);
      finish(tile, sum, own, /*own_sum=*/-1);
    }
  call.close();
}
TW_TILE_KERNEL(gemm_reduce_scatter, GemmReduceScatterArgs)

}  // namespace TW_NS
