// Every rank's side of tw_generate: prompts in, tokens out, alike on all ranks.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "lib/cli/model/sequence.h"
#include "lib/cli/tw_generate/options.h"
#include "lib/cli/tw_generate/talk.h"

namespace tw::cli {

/// Tokens, and what their steps took.
struct Work {
  size_t tokens = 0;
  size_t steps = 0;
  double seconds = 0;
  uint64_t launches = 0;

  double rate() const { return seconds > 0 ? static_cast<double>(tokens) / seconds : 0; }
  double launches_per_step() const {
    return steps > 0 ? static_cast<double>(launches) / static_cast<double>(steps) : 0;
  }
};

/// `talk`: at rank 0; null at the others, which hear from rank 0 what to do. All calls are
/// collective.
class Generator {
 public:
  Generator(tw_comm_t comm, tw_model_t model, const GenerateOptions& options, Talk* talk);

  /// Until there is no further prompt, or Ctrl-C.
  void run();
  /// The last tokens again, in one launch and op by op in turns.
  void compare();
  /// What was measured, on standard error.
  void report() const;

 private:
  using Clock = std::chrono::steady_clock;

  tw_model_limits_t agreed_limits() const;
  void broadcast(int32_t* values, size_t count) const;
  bool agree(bool mine) const;
  bool take_prompt(std::vector<int32_t>* prompt, size_t* kept);
  bool generate(const std::vector<int32_t>& prompt, size_t kept);
  int32_t run_step(std::span<const int32_t> tokens, bool draw, Work* work);
  int32_t time_step(tw_step_t step, bool by_ops, Work* work) const;

  tw_comm_t comm_;
  tw_model_t model_;
  const GenerateOptions& options_;
  Talk* const talk_;
  const tw_sampling_t sampling_;
  const tw_model_limits_t limits_;
  Sequence sequence_;
  Work prompt_, made_, one_launch_, by_ops_;
  size_t compared_ = 0, different_ = 0;
};

}  // namespace tw::cli
