// One sequence on a model: its tokens, their pages, and the steps that compute them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/cli/model/pages.h"
#include "tilewire.h"

namespace tw::cli {

/// Limits for one sequence of up to `context` tokens, computed in steps of up to `rows` tokens, of
/// which `logit_rows` are wanted.
tw_model_limits_t limits_for(uint32_t context, uint32_t rows, uint32_t logit_rows);

class Sequence {
 public:
  /// `limits` as from limits_for, prepared.
  explicit Sequence(const tw_model_limits_t& limits)
      : limits_(limits), pool_(limits.pages), table_(pool_, limits.page_size) {}

  size_t size() const { return tokens_.size(); }
  std::span<const int32_t> tokens() const { return tokens_; }

  /// Forgets the tokens from position `size` on.
  void cut(size_t size);

  /// The step that computes `tokens` (1 to limits.rows) after those that are there, for the last
  /// `logit_rows` of which logits are wanted. Results are the caller's to add; arrays are valid
  /// until the next call. Throws std::runtime_error beyond limits.context.
  tw_step_t append(std::span<const int32_t> tokens, uint32_t logit_rows);

 private:
  tw_model_limits_t limits_;
  PagePool pool_;
  PageTable table_;
  std::vector<int32_t> tokens_;
  std::vector<int32_t> positions_;  // this and the rest: of the last step
  std::vector<int64_t> slots_;
  std::vector<uint32_t> logit_row_;
  uint32_t query_begin_[2] = {};
  uint32_t page_begin_[2] = {};
};

}  // namespace tw::cli
