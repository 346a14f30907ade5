// C = epilogue(A B) on one device, optionally with RMSNorm of the finished rows.
#include "kernels/norm/rms_norm.h"
#include "tilewire/kernels/gemm.h"
#include "tilewire/tile/tile_call.h"
#include "tilewire/tile/tile_kernel.h"

namespace TW_NS {

template <class Block>
TW_FN void gemm(Block& block, const GemmArgs& args) {
  TileCall<Block> call(block, args.tiles);
  const bool normed = args.norm.weight != nullptr;
  const Matrix& to = normed ? args.norm.hidden : args.c;
  for (const Tile tile : block.tiles(args.grid, 0)) {
    auto sum = block.accumulator(tile);
    for (size_t k = 0; k < args.a.cols; k += Block::kTileK)
      block.mma(sum, args.a.at(tile.row, k), args.b.at(k, tile.col));
    block.store(to.at(tile.row, tile.col), sum, args.epilogue);
    if (normed) call.signal(call.rank(), tile.id);
  }
  if (normed) {
    const size_t n = args.grid.cols.total();
    for (const uint32_t i : block.items(static_cast<uint32_t>(args.grid.rows.total()), 1)) {
      const uint32_t row_tile = i / args.grid.rows.step;
      call.wait_slots(call.rank(), args.grid.id(row_tile, 0), args.grid.cols.tiles());
      norm_row(
          block, args.norm, i, n, 1, [&](int) { return args.c.at(i, 0).data; }, nullptr,
          args.c.type);
    }
  }
  call.close();
}
TW_TILE_KERNEL(gemm, GemmArgs)

}  // namespace TW_NS
