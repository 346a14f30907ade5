// Each rank multiplies its rows by all of B; the columns of the result go to their owners: rank q
// ends up with column segment q of all ranks' rows.
//
// Signal slots: tile id: the tile has come.
#include "tilewire/kernels/gemm.h"
#include "tilewire/tile/tile_call.h"
#include "tilewire/tile/tile_kernel.h"

namespace TW_NS {

template <class Block>
TW_FN void gemm_all_to_all(Block& block, const GemmAllToAllArgs& args) {
  TileCall<Block> call(block, args.tiles);
  const TileGrid& grid = args.grid;
  const int self = call.rank();
  const Segments& cols = grid.cols;
  for (const Tile tile : block.tiles(grid.rows_of(self), 0)) {  // the next rank's columns first
    auto sum = block.accumulator(tile);
    for (size_t k = 0; k < args.a.cols; k += Block::kTileK)
      block.mma(sum, args.a.at(tile.row - grid.rows.begin[self], k), args.b.at(k, tile.col));
    const int owner = tile.col_owner;
    if (owner != self) call.meet();
    Matrix to = owner == self ? args.c : call.out_of(owner, 0, args.c.type);
    if (to.data == nullptr) to = {call.data(owner, args.staged), cols.size(owner), args.c.type};
    block.store_all(
        1, [&](int) { return to.at(tile.row, tile.col - cols.begin[owner]); }, TilePlace{}, sum,
        args.epilogue);
    if (owner != self) call.signal(owner, tile.id);
  }
  const size_t element = args.c.element(), width = cols.size(self);
  for (const Tile tile : block.tiles(grid.cols_of(self), 1)) {
    if (tile.row_owner == self) continue;
    const size_t col = tile.col - cols.begin[self];
    char* const to = args.tiles.out[0].at == 0 ? args.c.at(tile.row, col).data : nullptr;
    block.copy_all(
        1, [&](int) { return to; }, nullptr, args.c.stride * element,
        call.data(self, args.staged + (tile.row * width + col) * element), width * element,
        tile.rows, tile.cols * element, call.when(tile.row_owner, tile.id));
  }
  call.close();
}
TW_TILE_KERNEL(gemm_all_to_all, GemmAllToAllArgs)

}  // namespace TW_NS
