// model_perf and layer_perf as a server, as ../runner/serve.h is for collectives. Every rank gets
// the same lines on DIR/in.<rank>; cases are among those of the command line:
//   prefill|decode TOKENS BATCH CONTEXT op_by_op|traced WARM ROUNDS
//   limits DRAM MULTIPLY          (1: measure it, on all ranks at once)
// DIR/out, from rank 0: {"name": ..., "weight_bytes": of all layers, "kv_bytes": of a token} once,
// then one line a case:
//   {"wrong": n, "us": [one a round], "other_us": [one a round]}
//   {"dram_gbs": x, "tflops": x}  (of all ranks together)
#pragma once

#include "perf/model/measure.h"
#include "perf/model/options.h"

namespace tw::perf {

// Returns the exit status.
int serve_model(Backend& backend, tw_model_t model, ModelMeasure& measure,
                const ModelOptions& options);

}  // namespace tw::perf
