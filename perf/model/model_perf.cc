// Tokens a second of a model: prompts by themselves, and sequences that decode together. The tool
// is perf/tools/perf_model.
#include "perf/model/run.h"

int main(int argc, char** argv) {
  return tw::perf::run_model(argv[0], tw::perf::parse_model_options(argc, argv));
}
