// What tw_generate is asked to do.
#pragma once

#include <cstdint>
#include <string>

namespace tw::cli {

struct GenerateOptions {
  std::string model;      // a file or folder; empty: synthetic
  std::string synthetic;  // name of a shape
  int layers = 0;         // of the shape; 0: all
  int prompt_tokens = 16;

  bool has_prompt = false;
  std::string prompt;
  std::string file;
  bool chat = false;

  int n = 128;
  int context = 0;  // 0: as needed
  float temperature = 0.8F;
  int top_k = 40;
  float top_p = 0.95F;
  uint64_t seed = 0;

  bool stats = false;
  bool compare = false;
  std::string trace;  // file for the last step's timeline
  int ranks = 0;      // threads; 0: this process is one rank
};

/// -1: go on; else the status to end with. `quiet`: rank 0 says what is wrong, and fails; a rank
/// that failed before it would have it ended.
int parse_generate(int argc, const char* const* argv, bool quiet, GenerateOptions* options);

}  // namespace tw::cli
