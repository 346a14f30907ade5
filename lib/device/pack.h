// Weights in the order in which this device's kernels multiply: tile/packed.h.
#pragma once

#include "tilewire/tile/matrix.h"

namespace tw {

/// Writes header and panels of `b` (layout kRows or kCols) for CPUs: packed_bytes(PackedFor::kCpu,
/// b.rows, b.cols, b.type) bytes to `packed`. All CPU targets read the same.
void pack_weights(const Operand& b, void* packed);

}  // namespace tw
