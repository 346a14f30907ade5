// Weights in the order in which this device's kernels multiply: tile/packed.h.
#pragma once

#include "tilewire/tile/matrix.h"

namespace tw {

/// Writes header and panels of `b` (layout kRows or kCols) for CPUs: packed_bytes(PackedFor::kCpu,
/// b.rows, b.cols, b.type) bytes to `packed`. All CPU targets read the same.
void pack_weights(const Operand& b, void* packed);

/// The same piece by piece, of bf16: `packed` (k x n) must be zeros at first. `columns`: k numbers
/// of each of columns first_col .. first_col + cols - 1, one column after the other, `stride`
/// apart.
void pack_header(size_t k, size_t n, void* packed);
void pack_columns(void* packed, size_t first_col, size_t cols, const uint16_t* columns,
                  size_t stride);

}  // namespace tw
