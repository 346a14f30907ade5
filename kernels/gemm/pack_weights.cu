// Weights in the order in which GPUs' loaders fetch them (tile/packed.h): tile by tile, each by one
// block.
#include "tilewire/kernels/pack.h"
#include "tilewire/tile/kernel.h"
#include "tilewire/tile/pack.h"

namespace TW_NS {

template <class Block>
TW_FN void pack_weights(Block& block, const PackWeightsArgs& args) {
  const size_t in_k = gpu_packed_k(args.b.type), steps = divide_up(args.b.rows, in_k);
  const size_t tiles = divide_up(args.b.cols, kGpuTile.cols) * steps;
  if (block.index() == 0) pack_header(block, args.packed, args.b);
  for (size_t i = block.index(); i < tiles; i += block.blocks())
    pack_tile(block, args.packed + kPackedHeader + i * kGpuPackedTile, args.b,
              i / steps * kGpuTile.cols, i % steps * in_k);
}
TW_KERNEL(pack_weights, PackWeightsArgs)

}  // namespace TW_NS
