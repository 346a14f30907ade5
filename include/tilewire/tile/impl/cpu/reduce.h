// Element-wise reduction on CPUs: n sources, in order, into m destinations. The loops themselves
// are compiled once per target (reduce_loops.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/kernels/coll.h"
#include "tilewire/tile/impl/cpu/vector.h"

namespace TW_NS {

/// What one reduction reads and writes. A destination may be one of the sources (same address).
struct Operands {
  const Byte* const* source;
  Byte* const* destination;
  const uint64_t* factor;  // of each source; used where `scaled` has its bit; else may be null
  uint64_t scaled;         // bit s: source s is scaled
  uint64_t stream;         // bit d: non-temporal stores to destination d where it is aligned
  int sources;
  int destinations;
  bool average;  // divide by `sources`
};

/// Reduces `bytes` bytes, whole elements of one type.
using ReduceLoop = void (*)(const Operands& operands, size_t bytes);

/// The loop for a type and op. TW_AVG of floats is a sum with `average` set.
ReduceLoop reduce_loop_of(tw_type_t type, tw_op_t op);

}  // namespace TW_NS
