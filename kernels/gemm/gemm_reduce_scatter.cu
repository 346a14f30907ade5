// C = epilogue(own rows of the sum over ranks of A B). Partial tiles of peers' rows come first and
// go to their owners' slots; then each rank adds the peers' partials to its own, in rank order.
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
  for (const Tile tile : block.tiles(grid, 0)) {  // the next rank's rows first, own rows last
    auto sum = block.accumulator(tile);
    for (size_t k = 0; k < args.a.cols; k += Block::kTileK)
      block.mma(sum, args.a.at(tile.row, k), args.b.at(k, tile.col));
    const int owner = tile.row_owner;
    const size_t number = grid.number(tile);
    if (owner != self) {
      call.meet();
      block.put_all(
          1, [&](int) { return call.data(owner, args.partials.at(self, number)); }, nullptr, sum,
          args.partials.type);
      call.signal(owner, number);
    } else {
      call.wait_peers(number);
      block.reduce(
          sum, call.size(), self,
          [&](int r) { return call.data(self, args.partials.at(r, number)); }, args.partials.type);
      block.store(args.c.at(tile.row - grid.rows.begin[self], tile.col), sum, args.epilogue);
    }
  }
  call.close();
}
TW_TILE_KERNEL(gemm_reduce_scatter, GemmReduceScatterArgs)

}  // namespace TW_NS
