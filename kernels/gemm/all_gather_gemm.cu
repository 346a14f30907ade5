// C = epilogue(all ranks' rows of A, times B). Every rank pushes its rows to the peers, a piece at
// a time, then multiplies: its own rows first, from where they lie, then what has come. Where ranks
// have few rows all are gathered first, the own ones too, and tiles have several ranks': so B is
// read once, not once for each rank.
//
// Signal slots: t: piece t of the rows has come from its owner. Number of pieces, own: all have.
#include "tilewire/kernels/gemm.h"
#include "tilewire/tile/tile_call.h"
#include "tilewire/tile/tile_kernel.h"

namespace TW_NS {

/// Where rows (from, rows) of an operand lie, as a block of memory to copy.
struct RowBlock {
  size_t offset, rows, bytes;  // bytes: of a row of the block
};
TW_FN RowBlock row_block(const Operand& a, size_t stride, size_t from, size_t rows) {
  const size_t element = packed_element(a.type);
  if (a.layout == MatrixLayout::kCols) return {from * element, a.cols, rows * element};
  return {from * stride * element, rows, a.cols * element};
}

template <class Block>
TW_FN void all_gather_gemm(Block& block, const AllGatherGemmArgs& args) {
  TileCall<Block> call(block, args.tiles);
  const Segments& rows = args.owners;
  const bool gathers_first = args.grid.rows.count < rows.count;
  const int self = call.rank(), receivers = call.size() - (gathers_first ? 0 : 1);
  const size_t element = packed_element(args.a.type), first = rows.begin[self];

  for (const uint32_t i : block.items(rows.tile[self + 1] - rows.tile[self], 0)) {
    const uint32_t t = rows.tile[self] + i;
    const size_t at = rows.tile_begin(self, t), count = rows.tile_size(self, t);
    const RowBlock from = row_block(args.a, args.a.stride, at - first, count);
    const size_t to = args.gathered + row_block(args.a, args.gathered_stride, at, count).offset;
    call.meet();
    block.copy_all(
        receivers, [&](int p) { return call.data(call.peer(p + 1), to); }, call.data_everywhere(to),
        args.gathered_stride * element, static_cast<const char*>(args.a.data) + from.offset,
        args.a.stride * element, from.rows, from.bytes);
    call.signal_all(t);
  }

  for ([[maybe_unused]] const uint32_t once : block.items(gathers_first ? 1 : 0, 1)) {
    for (uint32_t t = 0; t < rows.tiles(); ++t) call.wait(rows.owner_of(t), t);
    call.signal(self, rows.tiles());
  }

  for (const Tile tile : block.tiles(args.grid, 2)) {
    auto sum = block.accumulator(tile);
    for (size_t k = 0; k < args.a.cols; k += Block::kTileK) {
      const auto a = [&] {
        if (gathers_first) return args.all.at(tile.row, k).after(call.when(self, rows.tiles()));
        if (tile.row_owner == self) return args.a.at(tile.row - first, k);
        return args.all.at(tile.row, k).after(call.when(tile.row_owner, tile.row_tile));
      };
      block.mma(sum, a(), args.b.at(k, tile.col));
    }
    block.store(args.c.at(tile.row, tile.col), sum, args.epilogue);
  }

  // Everything that peers push is waited for, whether it is used or not.
  for (const uint32_t t : block.items(rows.tiles(), 3)) {
    const int owner = rows.owner_of(t);
    const Ready come = call.when(owner, t);
    const size_t at = rows.tile_begin(owner, t);
    const char* from = owner == self ? static_cast<const char*>(args.a.data) +
                                           row_block(args.a, args.a.stride, at - first, 0).offset
                                     : static_cast<const char*>(args.all.data) +
                                           row_block(args.a, args.gathered_stride, at, 0).offset;
    const RowBlock part = row_block(args.a, 0, at, rows.tile_size(owner, t));
    char* const to = args.returned.data == nullptr
                         ? nullptr
                         : static_cast<char*>(args.returned.data) +
                               row_block(args.a, args.returned.stride, at, 0).offset;
    block.copy_all(
        1, [&](int) { return to; }, nullptr, args.returned.stride * element, from,
        (owner == self ? args.a.stride : args.gathered_stride) * element, part.rows, part.bytes,
        come);
  }
  call.close();
}
TW_TILE_KERNEL(all_gather_gemm, AllGatherGemmArgs)

}  // namespace TW_NS
