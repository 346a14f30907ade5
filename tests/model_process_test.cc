// A model whose ranks are processes, of which one dies in the middle of its work: the others learn
// of it in time, make a comm of what is left, load again, and the text goes on.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "tests/runner/mortal_ranks.h"
#include "tests/support/model_ranks.h"

namespace tw::test {
namespace {

constexpr int kRanks = 3, kVictim = 1;
constexpr int kPrompt = 12, kBefore = 6, kAfter = 8;

struct Shared {
  std::atomic<int64_t> died;
  int64_t noticed[kRanks];
  int written[kRanks][kAfter];
  char complaint[kRanks][512];
};

[[noreturn]] void complain(Shared& shared, int rank, const std::string& what) {
  std::snprintf(shared.complaint[rank], sizeof shared.complaint[rank], "%s: %s", what.c_str(),
                tw_last_error());
  _exit(1);
}

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

/// Writes on from `text` with a model of its own on `comm`.
std::vector<int> write_on(Shared& shared, int rank, tw_comm_t comm, const ReferenceModel& reference,
                          const std::vector<int>& text) {
  const tw_model_t model = make_model(comm, reference, limits());
  Writer writer(model);
  std::vector<int> written{writer.next(text)};
  while (written.size() < kAfter) written.push_back(writer.next({written.back()}));
  if (writer.status() != TW_OK) complain(shared, rank, "a step on the new comm");
  if (tw_model_destroy(model) != TW_OK) complain(shared, rank, "the new model's end");
  return written;
}

[[noreturn]] void run_rank(Shared& shared, const Root& root, int rank) {
  tw_comm_t comm = nullptr, rest = nullptr;
  if (tw_comm_create(kRanks, rank, &root.id(), nullptr, &comm) != TW_OK)
    complain(shared, rank, "create");
  LlamaConfig config;
  config.heads = 4;
  config.kv_heads = 2;
  const ReferenceModel reference = random_model(config, 21);
  const tw_model_t model = make_model(comm, reference, limits());
  std::vector<int> text = random_tokens(config, kPrompt, 2);
  Writer writer(model);
  int token = writer.next(text);
  for (int i = 0; token >= 0 && i < 40; ++i) {
    if (rank == kVictim && i == kBefore) {
      shared.died.store(now_us());
      raise(SIGKILL);
    }
    text.push_back(token);
    token = writer.next({token});
  }
  shared.noticed[rank] = now_us();
  if (writer.status() != TW_ERROR_PEER_LOST) complain(shared, rank, "no PEER_LOST");
  if (std::strstr(tw_last_error(), "rank 1") == nullptr) complain(shared, rank, "no name");
  text.resize(kPrompt + kBefore);  // what every survivor has
  if (tw_model_destroy(model) != TW_OK) complain(shared, rank, "the model's end");
  if (tw_comm_shrink(comm, nullptr, &rest) != TW_OK) complain(shared, rank, "shrink");
  const std::vector<int> written = write_on(shared, rank, rest, reference, text);
  if (write_on(shared, rank, rest, reference, text) != written)
    complain(shared, rank, "another text the second time");
  std::copy(written.begin(), written.end(), shared.written[rank]);
  if (tw_comm_destroy(rest) != TW_OK || tw_comm_destroy(comm) != TW_OK)
    complain(shared, rank, "destroy");
  _exit(0);
}

TEST(ModelProcess, ADeadRankEndsTheStepAndTheTextGoesOn) {
  const InSharedMemory<Shared> shared;
  const Root root;
  run_mortal_ranks(
      kRanks, kVictim, [&](int rank) { run_rank(*shared, root, rank); },
      [&](int rank) { return shared->complaint[rank]; });
  for (const int rank : {0, 2}) {
    EXPECT_LT(shared->noticed[rank] - shared->died.load(), 1000000) << "rank " << rank;
    for (int i = 0; i < kAfter; ++i) {
      EXPECT_GE(shared->written[rank][i], 0);
      EXPECT_EQ(shared->written[rank][i], shared->written[0][i]);
    }
  }
}

}  // namespace
}  // namespace tw::test
