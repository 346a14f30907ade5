// A fused kernel of your own: GEMM + bias + all-reduce + GELU, for every CPU target, sm_90a and
// sm_80, from this file. The data flow stands here once; loader, multiplier and storer are made of
// it by the tile layer (tilewire/tile/tile_block.h).
#include "gemm_bias_gelu.h"
#include "tilewire/tile/tile_call.h"
#include "tilewire/tile/tile_kernel.h"

namespace TW_NS {

template <class Block>
TW_FN void gemm_bias_gelu(Block& block, const GemmBiasGeluArgs& args) {
  TileCall<Block> call(block, args.tiles);

  // Multiply this rank's share of K, a tile of C at a time, and give the sums to every rank.
  for (const Tile tile : block.tiles(args.grid, 0)) {
    auto sum = block.accumulator(tile);
    for (size_t k = 0; k < args.a.cols; k += Block::kTileK)
      block.mma(sum, args.a.at(tile.row, k), args.b.at(k, tile.col));
    const size_t slot = args.partials.at(call.rank(), tile.id);
    call.meet();  // the peers are in this launch too: what was in their slots is used
    block.put_all(
        call.size(), [&](int r) { return call.data(r, slot); }, call.data_everywhere(slot), sum,
        args.partials.type);
    call.signal_all(tile.id);
  }

  // Add the sums of all ranks, in rank order: the same bits everywhere and in every run.
  for (const Tile tile : block.tiles(args.grid, 1)) {
    call.wait_all(tile.id);
    auto sum = block.accumulator(tile);
    block.reduce(
        sum, call.size(), /*self=*/-1,
        [&](int r) { return call.data(call.rank(), args.partials.at(r, tile.id)); },
        args.partials.type);
    block.store(args.c.at(tile.row, tile.col), sum, args.epilogue);
  }
  call.close();
}
TW_TILE_KERNEL(gemm_bias_gelu, GemmBiasGeluArgs)

}  // namespace TW_NS
