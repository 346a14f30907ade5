// A benchmark as a server: one process per rank and library stays alive and measures the cases that
// tools/perf_coll sends it, so that ours and the peers' batches alternate within milliseconds.
// Between cases the ranks sleep in read(), so idle libraries cost no core.
//
// DIR/in.<rank>: a pipe to each rank. Every rank gets the same lines:
//   OP BYTES TYPE REDOP ROOT in|out ITERATIONS WARM BATCHES CHECK
// DIR/out: a pipe from rank 0: {"name": ...} once, then one line a case:
//   {"bytes": real size, "iterations": n, "wrong": n, "us": [one a batch]}
// ITERATIONS <= 0: as many as fill -ITERATIONS us (0: the default). The server ends when its pipe
// is closed.
#pragma once

#include "perf/runner/options.h"

namespace tw::perf {

// Returns the exit status.
int serve(Backend& backend, const Options& options);

}  // namespace tw::perf
