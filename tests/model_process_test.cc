// A model whose ranks are processes, of which one dies in the middle of its work: the others learn
// of it in time, make a comm of what is left, load again, and the text goes on.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "tests/runner/mortal_ranks.h"
#include "tests/support/model_ranks.h"

namespace tw::test {
namespace {

constexpr int kRanks = 3;
constexpr int kPrompt = 12, kBefore = 6, kAfter = 8;

tw_model_limits_t limits() {
  tw_model_limits_t l = TW_MODEL_LIMITS_INIT;
  l.rows = 64;
  l.sequences = 1;
  l.context = 64;
  l.page_size = 16;
  l.pages = 4;
  return l;
}

/// One sequence, in pages 0, 1 ...
class Writer {
 public:
  explicit Writer(tw_model_t model) : model_(model) {}

  /// Appends tokens; the most probable next one, or -1 when the step failed.
  int next(const std::vector<int>& tokens) {
    std::vector<int32_t> positions;
    std::vector<int64_t> slots;
    for (size_t i = 0; i < tokens.size(); ++i) {
      positions.push_back(length_);
      slots.push_back(length_++);
    }
    const auto rows = static_cast<uint32_t>(tokens.size());
    const uint32_t query_begin[] = {0, rows}, page_begin[] = {0, 4}, pages[] = {0, 1, 2, 3};
    const uint32_t last = rows - 1;
    const tw_sampling_t greedy{0, 0, 1, -1, 0};
    int32_t sampled = -1;
    tw_step_t step = TW_STEP_INIT;
    step.rows = rows;
    step.sequences = 1;
    step.logit_rows = 1;
    step.tokens = tokens.data();
    step.positions = positions.data();
    step.slots = slots.data();
    step.query_begin = query_begin;
    step.page_begin = page_begin;
    step.pages = pages;
    step.logit_row = &last;
    step.sampling = &greedy;
    step.sampled = &sampled;
    status_ = tw_model_step(model_, &step, nullptr);
    return status_ == TW_OK ? sampled : -1;
  }
  tw_status_t status() const { return status_; }

 private:
  const tw_model_t model_;
  int length_ = 0;
  tw_status_t status_ = TW_OK;
};

/// Writes on from `text` with a model of its own on `comm`: -1 where something failed.
std::vector<int> write_on(tw_comm_t comm, const ReferenceModel& reference,
                          const std::vector<int>& text) {
  const tw_model_t model = make_model(comm, reference, limits());
  Writer writer(model);
  std::vector<int> written{writer.next(text)};
  while (written.size() < kAfter) written.push_back(writer.next({written.back()}));
  if (writer.status() != TW_OK || tw_model_destroy(model) != TW_OK) written.back() = -1;
  return written;
}

TEST(ModelProcess, ADeadRankEndsTheStepAndTheTextGoesOn) {
  LlamaConfig config;
  config.heads = 4;
  config.kv_heads = 2;
  const ReferenceModel reference = random_model(config, 21);
  std::vector<int> text = random_tokens(config, kPrompt, 2);  // each process writes its own
  struct Shared {
    int written[kRanks][kAfter];
  };
  const InSharedMemory<Shared> shared;
  MortalWork work;
  work.until_it_fails = [&](tw_comm_t comm, int /*rank*/, const std::function<void()>& die) {
    const tw_model_t model = make_model(comm, reference, limits());
    Writer writer(model);
    int token = writer.next(text);
    for (int i = 0; token >= 0 && i < 40; ++i) {
      if (i == kBefore) die();
      text.push_back(token);
      token = writer.next({token});
    }
    const Ended ended{writer.status(), tw_last_error()};
    text.resize(kPrompt + kBefore);  // what every survivor has
    return tw_model_destroy(model) == TW_OK ? ended : Ended{TW_OK, "the model's end"};
  };
  work.go_on = [&](tw_comm_t rest, int rank) -> std::string {
    const std::vector<int> written = write_on(rest, reference, text);
    std::copy(written.begin(), written.end(), shared->written[rank]);
    return write_on(rest, reference, text) == written ? "" : "another text the second time";
  };
  run_mortal_ranks(kRanks, /*victim=*/1, work);
  for (const int rank : {0, 2})
    for (int i = 0; i < kAfter; ++i) {
      EXPECT_GE(shared->written[rank][i], 0);
      EXPECT_EQ(shared->written[rank][i], shared->written[0][i]);
    }
}

}  // namespace
}  // namespace tw::test
