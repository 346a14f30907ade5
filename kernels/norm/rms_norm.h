// RMSNorm of one finished row.
#pragma once

#include "tilewire/kernels/gemm.h"
#include "tilewire/tile/tile_block.h"

namespace TW_NS {

/// Norms row `i` of norm.hidden, which this block may read, into to(0 .. places-1), in `type`.
/// Role: consumer. Scope: system. Order: none. Blocks: no.
template <class Block, class To>
TW_FN void norm_row(Block& block, const RowNorm& norm, size_t i, size_t n, int places, To to,
                    char* everywhere, tw_type_t type) {
  const Row row{norm.rows + static_cast<size_t>(block.index()) * n, n};
  block.load(row, norm.hidden.at(i, 0).data, norm.hidden.type);
  const float mean = block.sum_of_squares(row) / static_cast<float>(n);
  block.scale(row, inverse_sqrt(mean + norm.eps));
  block.multiply(row, norm.weight, norm.hidden.type);
  block.store_all(places, to, everywhere, row, type);
}

}  // namespace TW_NS
