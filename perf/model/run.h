// What the main programs of model_perf and layer_perf have in common.
#pragma once

#include "perf/model/options.h"

namespace tw::perf {

// Joins, makes the model, and measures the cases or serves. Returns the exit status: 1 when a
// result was wrong or a call failed, which is told on standard error.
int run_model(const char* program, const ModelOptions& options);

}  // namespace tw::perf
