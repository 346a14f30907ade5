// The element loops that `Block::reduce` calls on CPUs, for every type and op. GPUs inline theirs.
#include "tilewire/tile/reduce_loops.h"
