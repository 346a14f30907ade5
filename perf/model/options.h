// The command lines of model_perf and layer_perf.
#pragma once

#include <string>
#include <vector>

#include "perf/model/batch.h"

namespace tw::perf {

struct ModelOptions {
  std::string file;   // the model; empty: random weights
  std::string shape;  // whose shape they have
  bool rows = false;  // one layer, which takes rows in and gives rows out
  std::vector<ModelCase> cases;
  int rounds = 5;
  bool bind = true;
  std::string serve;  // folder of pipes, see serve.h
};

// Print help or what is wrong and exit.
ModelOptions parse_model_options(int argc, const char* const* argv);
ModelOptions parse_layer_options(int argc, const char* const* argv);

// What random weights are made for. Throws std::runtime_error with the valid names.
tw_model_desc_t shape_of(const ModelOptions& options);

}  // namespace tw::perf
