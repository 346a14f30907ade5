// Arguments of the kernel that packs weights for GPUs (kernels/gemm/pack_weights.cu).
#pragma once

#include <type_traits>

#include "tilewire/tile/comm_view.h"
#include "tilewire/tile/matrix.h"

namespace tw {

/// Writes header and tiles of `b` (kRows or kCols) to `packed`: packed_bytes(PackedFor::kGpu, ...).
struct PackWeightsArgs {
  CommView comm;
  Operand b;
  char* packed;
};
static_assert(std::is_trivially_copyable_v<PackWeightsArgs>);

}  // namespace tw
