// The small models of tests/fixtures/llama: NAME.gguf (bf16) is the model, NAME.logits llama.cpp's
// fp32 logits of its tokens: tokens x vocab little-endian floats. `make llama-fixtures` makes both.
#pragma once

#include <cstdint>
#include <ostream>
#include <vector>

#include "tests/support/llama_model.h"

namespace tw::test {

struct LlamaCase {
  const char* name;
  LlamaConfig config;
  uint64_t seed;  // of random_model() and random_tokens()
  int tokens;
};

std::vector<LlamaCase> llama_cases();

/// GoogleTest prints a case by its name.
inline void PrintTo(const LlamaCase& c, std::ostream* to) { *to << c.name; }

}  // namespace tw::test
