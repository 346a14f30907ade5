// The command line, nccl-tests' letters where it has one.
#pragma once

#include <string>
#include <vector>

#include "perf/runner/measure.h"
#include "perf/runner/values.h"

namespace tw::perf {

enum class Placement { kBoth, kInPlace, kOutOfPlace };

struct Options {
  const Op* op = nullptr;
  size_t min_bytes = 8;
  size_t max_bytes = size_t{64} << 20;
  size_t step_bytes = 0;  // -i; 0: by factor
  double factor = 2;
  std::vector<tw_type_t> types{TW_FP32};
  std::vector<tw_op_t> redops{TW_SUM};
  int root = 0;
  bool check = true;
  bool alone = false;  // a world of 1 is wanted
  bool bind = true;
  int rotate = 1;
  Placement placement = Placement::kBoth;
  Loop loop;
  BackendOptions backend;
  std::string json;   // file to append to
  std::string serve;  // folder of pipes, see serve.h

  std::vector<size_t> sizes() const;
};

// Takes the op from --op, or from the program's name. Prints help or what is wrong and exits.
Options parse_options(int argc, char** argv);

// "64", "64K", "64M", "1G".
bool parse_size(const char* text, size_t* bytes);

}  // namespace tw::perf
