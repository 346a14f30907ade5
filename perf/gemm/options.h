// The command line of a GEMM benchmark.
#pragma once

#include <string>
#include <vector>

#include "perf/gemm/measure.h"

namespace tw::perf {

struct GemmOptions {
  const GemmOp* op = nullptr;
  std::vector<size_t> m{512, 64, 8, 1};
  size_t n = 4096, k = 8192;
  int copies = 0;  // of the weights; 0: twice the last cache over all ranks
  int cores = 1;   // of a rank
  bool bind = true;
  bool check = true;
  GemmLoop loop;
  std::string serve;  // folder of pipes, see serve.h
};

// Takes the op from the program's name. Prints help or what is wrong and exits.
GemmOptions parse_gemm_options(int argc, char** argv);

}  // namespace tw::perf
