// Defines what `Block::reduce` calls out of line on this target, if anything. One source per
// program and target includes it: kernels/coll/reduce_loops.cu in tilewire.
#pragma once

#if !defined(__CUDACC__)
#include "tilewire/tile/impl/cpu/reduce_loops.h"
#endif
