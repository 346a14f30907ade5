// Weights in the layout that a device's multiply step reads (tile/packed.h).
#pragma once

#include "tilewire/tile/matrix.h"

namespace tw {

/// Writes header and elements of `b` (plain, k x n) to `packed`, which has room for packed_bytes and
/// is aligned to 64 bytes.
void pack_weights(const Operand& b, void* packed);

}  // namespace tw
