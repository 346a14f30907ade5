// What a tile program's file includes: the tile block and TW_TILE_KERNEL.
//
//   namespace TW_NS {
//   template <class Block>
//   TW_FN void my_kernel(Block& block, const MyArgs& args) { ... }
//   TW_TILE_KERNEL(my_kernel, MyArgs)
//   }  // namespace TW_NS
//
// As TW_KERNEL (tile/kernel.h), for programs over a TileBlock. Args has a member
// `tw_tile_view tiles`. Launches have any number of blocks; the ranks' may differ.
// TW_TILE_KERNEL_OF(my_kernel, MyArgs, TW_BF16): all of its products are of this type, and GPUs do
// not get it for others.
#pragma once

#include "tilewire/tile/tile_block.h"

#if defined(__CUDACC__)
#include "tilewire/tile/impl/gpu/tile_kernel.h"
#else
#include "tilewire/tile/impl/cpu/tile_kernel.h"
#endif
