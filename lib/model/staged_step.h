// Steps on their way: copied to memory that lives until their launch is over.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "lib/model/desc.h"
#include "lib/model/model.h"
#include "lib/model/step_note.h"
#include "lib/program/launcher.h"

namespace tw {

/// Room for one step within the limits; taken once, used again and again.
class StagedStep {
 public:
  StagedStep(const ModelDesc& desc, const ModelLimits& limits, int32_t* sampled_slots);

  /// Copies a checked step. From then on it is taken, until its results have been given.
  void take(const Step& step, const ModelDesc& desc);
  bool taken() const { return taken_.load(std::memory_order_acquire); }
  /// Hands sampled tokens and log-probabilities to the step's arrays.
  void give_results();
  const StepNote& note() const { return note_; }
  /// Which of its comm's calls it is.
  void set_call(const ProgramCall& call) { call_ = call; }
  const ProgramCall& call() const { return call_; }
  /// For the kernels.
  const StepView& view() const { return view_; }
  /// The step's own words, arrays excepted.
  const Step& step() const { return step_; }

 private:
  std::atomic<bool> taken_{false};
  StepView view_{};
  StepNote note_;
  ProgramCall call_{};
  Step step_;
  std::vector<int32_t> tokens_, positions_, sampled_;
  std::vector<int64_t> slots_;
  std::vector<uint32_t> query_begin_, page_begin_, pages_, logit_row_, allowed_;
  std::vector<RowSampling> sampling_;
  std::vector<float> log_probability_;
};

}  // namespace tw
