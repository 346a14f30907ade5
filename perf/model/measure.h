// Checks and times one case of a model on one rank: in one launch a step, and in another way in
// turns, of which each comes first in every other round. Every rank constructs a ModelMeasure and
// calls its functions in the same order.
#pragma once

#include <cstdint>
#include <vector>

#include "perf/model/batch.h"
#include "perf/runner/backend.h"

namespace tw::perf {

enum class Way { kOneLaunch, kOpByOp, kTraced };  // kTraced: one launch that notes its times

// Microseconds of all steps of the case in each round, on the slowest rank.
struct ModelTimes {
  std::vector<double> us, other_us;
  uint64_t wrong = 0;  // results that differ between the two or are no numbers, over all ranks
};

// What the model computes, head_size included.
tw_model_desc_t describe(tw_model_t model);

// Bytes of all layers' matrices, and of a token's K and V in them, over all ranks.
double weight_bytes(const tw_model_desc_t& desc);
double kv_bytes(const tw_model_desc_t& desc);

class ModelMeasure {
 public:
  // `rows`: steps take rows in and give rows out instead of taking and drawing tokens.
  ModelMeasure(Backend& backend, tw_model_t model, const tw_model_limits_t& limits, bool rows);

  // `warm` rounds are not timed. The results of every round are compared.
  ModelTimes time(const ModelCase& c, Way other, int warm, int rounds);

 private:
  // What the steps of a case gave: of each row that drew, token and log probability, or the rows.
  struct Results {
    std::vector<int32_t> tokens;
    std::vector<float> log_probabilities;
    std::vector<uint16_t> rows;
    void poison(const ModelCase& c, size_t hidden);
    uint64_t differences(const Results& other) const;
  };
  void set_up(const ModelCase& c);
  void compute_context(const ModelCase& c);
  double run(const ModelCase& c, Way way, Results* results);

  Backend& backend_;
  tw_model_t model_;
  tw_model_desc_t desc_ = TW_MODEL_DESC_INIT;
  const tw_model_limits_t limits_;
  const bool rows_;
  Batch batch_;
  ModelCase current_{true, 0, 0, 0};
  std::vector<tw_sampling_t> sampling_;
  std::vector<uint16_t> rows_in_;  // bf16
  Results one_launch_, other_;
  bool other_first_ = false;  // in the next round
};

}  // namespace tw::perf
