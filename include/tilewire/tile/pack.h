// Packing weights for GPUs (tile/packed.h). CPUs' own layout is packed by the host.
#pragma once

#include "tilewire/tile/block.h"
#include "tilewire/tile/matrix.h"
#include "tilewire/tile/packed.h"

namespace TW_NS {

/// Writes to `header` what packed weights of `b` begin with.
/// Role: consumer. Scope: device. Order: none. Blocks: no.
template <class Block>
TW_FN void pack_header(Block& block, char* header, const Operand& b);

/// Writes to `tile` (kGpuPackedTile bytes) the elements of `b` in columns `col` .. and rows `k` ..,
/// zeros where there are none. Role: consumer. Scope: device. Order: none. Blocks: no.
template <class Block>
TW_FN void pack_tile(Block& block, char* tile, const Operand& b, size_t col, size_t k);

}  // namespace TW_NS

#if defined(__CUDACC__)
#include "tilewire/tile/impl/gpu/pack.h"
#else
#include "tilewire/tile/impl/cpu/pack.h"
#endif
