// A GEMM benchmark as a server, as ../runner/serve.h is for collectives. Every rank gets the same
// lines on DIR/in.<rank>:
//   OP M N K COPIES ITERATIONS WARM BATCHES CHECK
//   choice OP M N K               (in one kernel or by its parts?)
//   limits DRAM MULTIPLY          (1: measure it)
//   forget                        (give the weights' memory back; no answer)
// DIR/out, from rank 0: {"name": ...} once, then one line a case:
//   {"iterations": n, "wrong": n, "us": [one a batch], "call_us": [one a batch]}
//   {"choice": "fused" or "unfused"}
//   {"dram_gbs": x, "tflops": x}  (of all the cores of rank 0; of one)
// COPIES 0: of the weights, twice the last cache. ITERATIONS 0: as many as fill the default time.
#pragma once

#include "perf/gemm/options.h"

namespace tw::perf {

// Returns the exit status.
int serve_gemm(Backend& backend, Engine& engine, const GemmOptions& options);

}  // namespace tw::perf
