// A model on thread ranks, driven as an engine does: sequences, pages, steps of any mixture.
// Results are compared bit for bit over the ranks as they come.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/runner/ranks.h"
#include "tests/support/llama_model.h"
#include "tilewire/model.h"

namespace tw::test {

/// The config of a reference model as the API has it.
tw_model_desc_t desc_of(const LlamaConfig& config);

/// Tokens that one sequence gets in a step.
struct Chunk {
  int sequence;
  std::vector<int> tokens;
};

struct ModelRanksShape {
  int ranks = 2;
  int workers = 1;  // of each rank
  tw_model_limits_t limits = TW_MODEL_LIMITS_INIT;
};

/// A model of `comm` with the reference's weights, ready for steps.
tw_model_t make_model(tw_comm_t comm, const ReferenceModel& reference,
                      const tw_model_limits_t& limits);

/// A small model, uneven over ranks.
LlamaConfig small_config();
/// Steps of up to `rows` rows, 8 sequences, 1024 positions; pages for 4096.
tw_model_limits_t step_limits(uint32_t rows, uint32_t page_size = 16);
bool same_bits(const std::vector<float>& a, const std::vector<float>& b);

class ModelRanks {
 public:
  ModelRanks(const ReferenceModel& model, const ModelRanksShape& shape);
  /// The model of a file, for `vocab` tokens.
  ModelRanks(const std::string& file, int vocab, const ModelRanksShape& shape);
  ~ModelRanks();

  /// The logits of every row, rows x vocab, in the order of the chunks. Sequences begin when they
  /// are first named.
  std::vector<float> step(const std::vector<Chunk>& chunks, bool by_ops = false);
  /// The tokens that the last rows of the chunks draw.
  std::vector<int> sample(const std::vector<Chunk>& chunks, const tw_sampling_t& sampling);

  /// Gives a sequence's pages back.
  void end(int sequence);
  /// A new sequence with the first `tokens` tokens of another: it shares their whole pages, and
  /// what is left over is copied.
  void fork(int from, int to, int tokens);
  /// Pages are taken in another order from now on.
  void shuffle_pages(uint64_t seed);

  const ThreadRanks& ranks() const { return ranks_; }
  tw_model_t model(int rank) const { return models_[static_cast<size_t>(rank)]; }
  /// How often a page was taken that some sequence had had before.
  size_t reused_pages() const { return reused_; }
  /// Launches of rank 0 so far.
  uint64_t launches() const;

 private:
  struct Sequence {
    int length = 0;
    std::vector<uint32_t> pages;
  };
  struct Arrays {
    std::vector<int32_t> tokens, positions;
    std::vector<int64_t> slots;
    std::vector<uint32_t> query_begin{0}, page_begin{0}, pages, logit_row;
    tw_step_t step() const;
  };
  Arrays arrays_of(const std::vector<Chunk>& chunks);
  uint32_t take_page();
  void give_page(uint32_t page);

  ModelRanks(int vocab, const ModelRanksShape& shape);

  const size_t vocab_;
  const tw_model_limits_t limits_;
  tw_comm_config_t comm_config_;
  ThreadRanks ranks_;
  std::vector<tw_model_t> models_;
  std::map<int, Sequence> sequences_;
  std::vector<uint32_t> free_;
  std::vector<int> users_;  // of each page
  std::set<uint32_t> used_;
  size_t reused_ = 0;
};

}  // namespace tw::test
