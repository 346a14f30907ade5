// Sequences of equal length on a model, and the steps that compute them: an engine at its plainest.
#pragma once

#include <cstdint>
#include <vector>

#include "tilewire/model.h"

namespace tw::perf {

// What is measured. `decode`: a token more of each sequence in a step, `tokens` such steps, after
// `context` tokens. Otherwise: one step with `tokens` tokens of each sequence.
struct ModelCase {
  bool decode = true;
  uint32_t tokens = 1, batch = 1, context = 0;

  uint32_t steps() const { return decode ? tokens : 1; }
  uint32_t step_tokens() const { return decode ? 1 : tokens; }  // of a sequence
  uint32_t rows() const { return batch * step_tokens(); }
  uint32_t length() const { return context + tokens; }
  uint32_t pages(uint32_t page_size) const { return (length() + page_size - 1) / page_size; }
  friend bool operator==(const ModelCase&, const ModelCase&) = default;
};

// Limits within which all of `cases` run. `samples`: the last row of each sequence draws a token.
tw_model_limits_t limits_for(const std::vector<ModelCase>& cases, bool samples);

class Batch {
 public:
  // `vocab`: tokens are below it.
  Batch(const tw_model_limits_t& limits, int64_t vocab) : limits_(limits), vocab_(vocab) {}

  // Lays out sequences of `c.length()` tokens, each with pages of its own.
  void begin(const ModelCase& c);

  // The step that computes positions [from, from + tokens) of the first `sequences` sequences.
  // Arrays are valid until the next call.
  tw_step_t step(uint32_t sequences, uint32_t from, uint32_t tokens);

  // Copies what the first sequence has in its pages into those of all others.
  void spread(tw_model_t model) const;

 private:
  tw_model_limits_t limits_;
  int64_t vocab_;
  uint32_t sequences_ = 0, pages_each_ = 0;
  std::vector<int32_t> tokens_, positions_;
  std::vector<int64_t> slots_;
  std::vector<uint32_t> query_begin_, page_begin_, page_table_, last_rows_;
};

}  // namespace tw::perf
