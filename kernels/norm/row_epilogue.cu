// C = epilogue(input), row by row: bias, activation, residual, RMSNorm. What a fused op does to its
// sums, for calls that are carried out by their parts.
#include "kernels/norm/rms_norm.h"
#include "tilewire/kernels/gemm.h"
#include "tilewire/tile/tile_call.h"
#include "tilewire/tile/tile_kernel.h"

namespace TW_NS {

template <class Block>
TW_FN void row_epilogue(Block& block, const RowEpilogueArgs& args) {
  TileCall<Block> call(block, args.tiles);
  const Epilogue& e = args.epilogue;
  const bool normed = args.norm.weight != nullptr;
  const Matrix& to = normed ? args.norm.hidden : args.c;
  for (const uint32_t i : block.items(static_cast<uint32_t>(args.m), 0)) {
    const Row row{args.norm.rows + static_cast<size_t>(block.index()) * args.n, args.n};
    block.load(row, args.input.at(i, 0).data, args.input.type);
    if (e.bias != nullptr) block.add(row, e.bias, e.type);
    block.activate(row, e.activation);
    if (e.residual.data != nullptr) block.add(row, e.residual.at(i - e.first_row, 0).data, e.type);
    block.store_all(
        1, [&](int) { return to.at(i, 0).data; }, nullptr, row, to.type);
    if (normed)
      norm_row(
          block, args.norm, i, args.n, 1, [&](int) { return args.c.at(i, 0).data; }, nullptr,
          args.c.type);
  }
  call.close();
}
TW_TILE_KERNEL(row_epilogue, RowEpilogueArgs)

}  // namespace TW_NS
