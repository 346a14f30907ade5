// The time of one layer at its full size, with random weights. The tool is perf/tools/perf_layer.
#include "perf/model/run.h"

int main(int argc, char** argv) {
  return tw::perf::run_model(argv[0], tw::perf::parse_layer_options(argc, argv));
}
