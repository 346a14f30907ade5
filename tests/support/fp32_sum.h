// Enough of a reduction for tests that compile the kernels in a namespace of their own: whatever is
// asked for, sums of fp32. Included once, after the kernels.
#pragma once

#include <cstring>

#include "tilewire/tile/block.h"

namespace TW_NS {

inline ReduceLoop reduce_loop_of(tw_type_t /*type*/, tw_op_t /*op*/) {
  return [](const Operands& o, size_t bytes) {
    for (size_t at = 0; at < bytes; at += sizeof(float)) {
      float sum = 0;
      for (int s = 0; s < o.sources; ++s) {
        float x;
        std::memcpy(&x, o.source[s] + at, sizeof x);
        sum += x;
      }
      for (int d = 0; d < o.destinations; ++d) std::memcpy(o.destination[d] + at, &sum, sizeof sum);
    }
  };
}

}  // namespace TW_NS
