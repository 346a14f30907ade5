// What a step of a model does beside its logits: parts of a model, queues, pages, draws, timelines;
// and what is refused.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <string>

#include "tests/support/model_ranks.h"

namespace tw::test {
namespace {

// ---- Parts of a model, and what a step gives beside logits ----

tw_step_t layers_step(const std::vector<int32_t>& tokens, const std::vector<int32_t>& positions,
                      const std::vector<int64_t>& slots, const uint32_t* ends) {
  static const uint32_t kPages[] = {3, 1, 4, 0, 5, 9, 2, 6};
  tw_step_t step = TW_STEP_INIT;
  step.rows = static_cast<uint32_t>(tokens.size());
  step.sequences = 1;
  step.tokens = tokens.data();
  step.positions = positions.data();
  step.slots = slots.data();
  step.query_begin = ends;
  step.page_begin = ends + 2;
  step.pages = kPages;
  return step;
}

/// Layers one by one, with the rows between them in the test's hands, give the whole's bits.
TEST(ModelParts, LayersOneByOneAreTheWhole) {
  const ReferenceModel reference = random_model(small_config(), 8);
  for (const int rows : {5, 100}) {
    ModelRanks model(reference, {2, 1, step_limits(128, 16)});
    const std::vector<int> tokens = random_tokens(reference.config, rows, 4);
    const std::vector<float> want = model.step({{0, tokens}});
    const int next = 7;
    const std::vector<float> want_next = model.step({{0, {next}}});
    model.end(0);
    std::vector<int32_t> positions;
    std::vector<int64_t> slots;
    static const int64_t kPage[] = {3, 1, 4, 0, 5, 9, 2, 6};
    for (int i = 0; i < rows; ++i) {
      positions.push_back(i);
      slots.push_back(kPage[i / 16] * 16 + i % 16);
    }
    const uint32_t ends[] = {0, static_cast<uint32_t>(rows), 0, 8};
    std::vector<uint32_t> all;
    for (uint32_t i = 0; i < static_cast<uint32_t>(rows); ++i) all.push_back(i);
    model.ranks().run([&](int rank, tw_comm_t) {
      std::vector<float> hidden(tokens.size() * static_cast<size_t>(reference.config.hidden));
      std::vector<float> got(want.size());
      tw_step_t first = layers_step(tokens, positions, slots, ends);
      first.last_layer = 1;
      first.hidden_out = hidden.data();
      EXPECT_EQ(tw_model_step(model.model(rank), &first, nullptr), TW_OK) << tw_last_error();
      // Another sequence in between: nothing of the first is left but its keys and values.
      const std::vector<int32_t> others(tokens.size(), 9);
      std::vector<int64_t> nowhere(tokens.size(), -1);
      const tw_step_t between = layers_step(others, positions, nowhere, ends);
      EXPECT_EQ(tw_model_step(model.model(rank), &between, nullptr), TW_OK) << tw_last_error();
      tw_step_t second = layers_step(tokens, positions, slots, ends);
      second.tokens = nullptr;
      second.first_layer = 1;
      second.hidden_in = hidden.data();
      second.logit_rows = static_cast<uint32_t>(rows);
      second.logit_row = all.data();
      second.logits_to = TW_LOGITS_TO_ONE;
      second.logits_rank = 1;
      second.logits = rank == 1 ? got.data() : nullptr;
      EXPECT_EQ(tw_model_step(model.model(rank), &second, nullptr), TW_OK) << tw_last_error();
      EXPECT_TRUE(rank != 1 || same_bits(got, want)) << rows << " rows";
      // Layers that were left out have kept their keys and values.
      const uint32_t next_ends[] = {0, 1, 0, 8}, row = 0;
      const std::vector<int32_t> token{next}, position{rows};
      const std::vector<int64_t> slot{kPage[rows / 16] * 16 + rows % 16};
      tw_step_t third = layers_step(token, position, slot, next_ends);
      third.logit_rows = 1;
      third.logit_row = &row;
      third.logits_to = TW_LOGITS_TO_ALL;
      third.logits = got.data();
      EXPECT_EQ(tw_model_step(model.model(rank), &third, nullptr), TW_OK) << tw_last_error();
      got.resize(want_next.size());
      EXPECT_TRUE(same_bits(got, want_next)) << "after " << rows << " rows";
    });
  }
}

TEST(ModelParts, StepsThatDifferAreShown) {
  const ReferenceModel reference = random_model(small_config(), 11);
  ModelRanks model(reference, {2, 1, step_limits(32)});
  model.ranks().run([&](int rank, tw_comm_t) {
    const std::vector<int32_t> tokens(3 + static_cast<size_t>(rank), 1), positions{0, 1, 2, 3};
    const std::vector<int64_t> slots{48, 49, 50, 51};
    const uint32_t ends[] = {0, static_cast<uint32_t>(tokens.size()), 0, 8};
    const tw_step_t step = layers_step(tokens, positions, slots, ends);
    EXPECT_EQ(tw_model_step(model.model(rank), &step, nullptr), TW_ERROR_MISMATCH);
    const std::string said = tw_last_error();
    EXPECT_NE(said.find("rows 3"), std::string::npos) << said;
    EXPECT_NE(said.find("rows 4"), std::string::npos) << said;
    EXPECT_NE(said.find("rank 0"), std::string::npos) << said;
    EXPECT_NE(said.find("rank 1"), std::string::npos) << said;
  });
}

/// What a token is drawn by is part of the step.
TEST(ModelParts, DrawsThatDifferAreShown) {
  const ReferenceModel reference = random_model(small_config(), 11);
  const size_t words = (static_cast<size_t>(reference.config.vocab) + 31) / 32;
  for (const char* what : {"sampling", "allowed"}) {
    ModelRanks model(reference, {2, 1, step_limits(32)});
    model.ranks().run([&](int rank, tw_comm_t) {
      const std::vector<int32_t> tokens{1, 2}, positions{0, 1};
      const std::vector<int64_t> slots{48, 49};
      const uint32_t ends[] = {0, 2, 0, 8}, last = 1;
      tw_sampling_t draw{1.0F, 0, 1, -1, 5};
      std::vector<uint32_t> allowed(words, UINT32_MAX);
      if (rank == 1 && what == std::string("sampling")) draw.seed = 6;
      if (rank == 1 && what == std::string("allowed")) allowed[0] = 1;
      int32_t sampled = 0;
      tw_step_t step = layers_step(tokens, positions, slots, ends);
      step.logit_rows = 1;
      step.logit_row = &last;
      step.sampling = &draw;
      step.allowed = allowed.data();
      step.sampled = &sampled;
      EXPECT_EQ(tw_model_step(model.model(rank), &step, nullptr), TW_ERROR_MISMATCH);
      const std::string said = tw_last_error();
      EXPECT_NE(said.find(std::string(what) + " #"), std::string::npos) << said;
    });
  }
}

/// A step of two rows of one sequence, in page 3; nothing is wrong with it.
struct TwoRows {
  int32_t tokens[2] = {1, 2};
  int32_t positions[2] = {0, 1};
  int64_t slots[2] = {48, 49};
  uint32_t query_begin[2] = {0, 2};
  uint32_t page_begin[2] = {0, 1};
  uint32_t pages[1] = {3};
  uint32_t logit_row[1] = {1};
  tw_sampling_t sampling[1] = {{0, 0, 1, -1, 0}};
  int32_t sampled[1] = {};

  tw_step_t step() const {
    tw_step_t s = TW_STEP_INIT;
    s.rows = 2;
    s.sequences = s.logit_rows = 1;
    s.tokens = tokens;
    s.positions = positions;
    s.slots = slots;
    s.query_begin = query_begin;
    s.page_begin = page_begin;
    s.pages = pages;
    s.logit_row = logit_row;
    s.sampling = sampling;
    s.sampled = const_cast<int32_t*>(sampled);
    return s;
  }
};

/// What stands in a step's arrays is looked at before a peer hears of it.
TEST(ModelSteps, RefusalsNameArrayIndexAndValue) {
  struct Row {
    std::vector<const char*> says;
    void (*change)(TwoRows&);
  };
  const Row rows[] = {
      {{"slots[1] = 48", "slots[0]"}, [](TwoRows& a) { a.slots[1] = 48; }},
      {{"slots[0] = -2", "-1 to 4095"}, [](TwoRows& a) { a.slots[0] = -2; }},
      {{"slots[1] = 4096", "-1 to 4095"}, [](TwoRows& a) { a.slots[1] = 4096; }},
      {{"tokens[1] = 131", "to 130"}, [](TwoRows& a) { a.tokens[1] = 131; }},
      {{"tokens[0] = -5", "-4 to"}, [](TwoRows& a) { a.tokens[0] = -5; }},
      {{"positions[0] = -1", "0 to 1023"}, [](TwoRows& a) { a.positions[0] = -1; }},
      {{"row 1", "position 0 comes after 0"}, [](TwoRows& a) { a.positions[1] = 0; }},
      {{"position 17 needs 2 pages", "has 1"}, [](TwoRows& a) { a.positions[1] = 17; }},
      {{"sequence 0, page 0", "page number 256"}, [](TwoRows& a) { a.pages[0] = 256; }},
      {{"query_begin[1] = 1"}, [](TwoRows& a) { a.query_begin[1] = 1; }},
      {{"page_begin[0] = 1"}, [](TwoRows& a) { a.page_begin[0] = 1; }},
      {{"logit_row[0] = 2", "0 to 1"}, [](TwoRows& a) { a.logit_row[0] = 2; }},
      {{"sampling[0].top_p = 0"}, [](TwoRows& a) { a.sampling[0].top_p = 0; }},
      {{"sampling[0].temperature = nan"}, [](TwoRows& a) { a.sampling[0].temperature = NAN; }},
      {{"sampling.slot of row[0] = 4"}, [](TwoRows& a) { a.sampling[0].slot = 4; }},
  };
  const ReferenceModel reference = random_model(small_config(), 11);
  ModelRanks model(reference, {1, 1, step_limits(32)});
  const uint64_t before = model.launches();
  for (const Row& row : rows)
    for (const bool by_ops : {false, true}) {
      TwoRows arrays;
      row.change(arrays);
      const tw_step_t step = arrays.step();
      EXPECT_EQ(by_ops ? tw_model_step_by_ops(model.model(0), &step)
                       : tw_model_step(model.model(0), &step, nullptr),
                TW_ERROR_INVALID_ARGUMENT)
          << row.says[0];
      const std::string said = tw_last_error();
      const char* const function = by_ops ? "tw_model_step_by_ops:" : "tw_model_step:";
      EXPECT_EQ(said.find(function), 0U) << said;
      for (const char* part : row.says) EXPECT_NE(said.find(part), std::string::npos) << said;
    }
  EXPECT_EQ(model.launches(), before);
  // A refusal leaves nothing behind, and rows of padding have no slot.
  for (const int64_t second : {49, -1}) {
    TwoRows arrays;
    arrays.slots[1] = second;
    if (second < 0) arrays.slots[0] = second;
    const tw_step_t step = arrays.step();
    EXPECT_EQ(tw_model_step(model.model(0), &step, nullptr), TW_OK) << tw_last_error();
  }
}

/// What is queued before a copy of pages writes into them first.
TEST(ModelQueue, PagesAreCopiedAfterWhatIsQueued) {
  const ReferenceModel reference = random_model(small_config(), 8);
  const std::vector<int> tokens = random_tokens(reference.config, 48, 4);
  ModelRanks model(reference, {2, 1, step_limits(64)});
  std::vector<std::vector<float>> logits(2);
  model.ranks().run([&](int rank, tw_comm_t) {
    tw_stream_t stream = nullptr;
    EXPECT_EQ(tw_stream_create(nullptr, &stream), TW_OK) << tw_last_error();
    std::vector<int32_t> positions(48);
    std::iota(positions.begin(), positions.end(), 0);
    std::vector<int64_t> slots(48);
    for (int round = 0; round < 8; ++round) {
      // A prompt in pages 0 to 2, which copies in 8 to 10 go on from.
      std::iota(slots.begin(), slots.end(), 0);
      const std::vector<int32_t> prompt(tokens.begin(), tokens.end());
      const uint32_t query_begin[] = {0, 48}, page_begin[] = {0, 3}, pages[] = {0, 1, 2};
      tw_step_t step = TW_STEP_INIT;
      step.rows = 48;
      step.sequences = 1;
      step.tokens = prompt.data();
      step.positions = positions.data();
      step.slots = slots.data();
      step.query_begin = query_begin;
      step.page_begin = page_begin;
      step.pages = pages;
      EXPECT_EQ(tw_model_step(model.model(rank), &step, stream), TW_OK) << tw_last_error();
      const uint32_t from[] = {0, 1, 2}, to[] = {8, 9, 10};
      EXPECT_EQ(tw_model_kv_copy(model.model(rank), from, to, 3), TW_OK) << tw_last_error();
      const int32_t last = prompt[47], position = 47;
      const int64_t nowhere = 11 * 16 + 15;
      const uint32_t one[] = {0, 1}, copies[] = {8, 9, 10}, row = 0;
      tw_step_t next = step;
      next.rows = next.logit_rows = 1;
      next.tokens = &last;
      next.positions = &position;
      next.slots = &nowhere;
      next.query_begin = one;
      next.pages = copies;
      next.logit_row = &row;
      next.logits_to = TW_LOGITS_TO_ALL;
      std::vector<float> got(static_cast<size_t>(reference.config.vocab));
      next.logits = got.data();
      EXPECT_EQ(tw_model_step(model.model(rank), &next, nullptr), TW_OK) << tw_last_error();
      std::vector<float>& want = logits[static_cast<size_t>(rank)];
      if (round == 0) want = got;
      EXPECT_TRUE(same_bits(got, want)) << "round " << round;
      // Nothing of it is left for the next round.
      const uint32_t empty[] = {20, 20, 20, 20, 20, 20}, all[] = {0, 1, 2, 8, 9, 10};
      EXPECT_EQ(tw_model_kv_copy(model.model(rank), empty, all, 6), TW_OK) << tw_last_error();
    }
    EXPECT_EQ(tw_stream_destroy(stream), TW_OK) << tw_last_error();
  });
  // The prompt's own last row has these logits.
  const std::vector<float> whole = model.step({{0, tokens}});
  EXPECT_TRUE(same_bits({whole.end() - reference.config.vocab, whole.end()}, logits[0]));
}

/// Sums of many rows cost a rank what the rows that it keeps take, however many ranks there are.
TEST(ModelParts, MemoryOfSums) {
  const ReferenceModel reference = random_model(small_config(), 8);
  size_t bytes[2] = {};
  for (const int ranks : {1, 4}) {
    const ModelRanks model(reference, {ranks, 1, step_limits(8)});
    tw_model_limits_t large = step_limits(2048);
    large.logit_rows = 1;
    tw_model_bytes_t told = TW_MODEL_BYTES_INIT;
    EXPECT_EQ(tw_model_memory(model.model(0), &large, &told), TW_OK) << tw_last_error();
    bytes[ranks == 1 ? 0 : 1] = told.activations;
  }
  EXPECT_GT(bytes[1], 0U);
  EXPECT_LE(bytes[1], bytes[0]);
}

/// Steps of all sizes share the memory of the sums: those without owners of rows keep all rows.
TEST(ModelParts, SumsOfStepsOfEverySize) {
  const ReferenceModel reference = random_model(small_config(), 8);
  for (const int ranks : {2, 8}) {
    ModelRanks small(reference, {ranks, 1, step_limits(32)});
    ModelRanks large(reference, {ranks, 1, step_limits(100)});
    int sequence = 0;
    for (const int rows : {32, 31, 17, 100, 64, 63}) {
      const std::vector<int> tokens = random_tokens(reference.config, rows, 4);
      const std::vector<float> want =
          rows <= 32 ? small.step({{sequence, tokens}}) : large.step({{sequence, tokens}}, true);
      EXPECT_TRUE(same_bits(large.step({{sequence + 1, tokens}}), want))
          << rows << " rows, " << ranks << " ranks";
      sequence += 2;
    }
  }
}

/// A row's logits may be asked for more than once, more often than there are rows.
TEST(ModelParts, MoreLogitsThanRows) {
  const ReferenceModel reference = random_model(small_config(), 12);
  ModelRanks model(reference, {2, 1, step_limits(32)});
  const std::vector<float> want = model.step({{0, {3}}});
  model.end(0);
  model.ranks().run([&](int rank, tw_comm_t) {
    const std::vector<int32_t> tokens{3}, positions{0};
    const std::vector<int64_t> slots{48};
    const uint32_t ends[] = {0, 1, 0, 8}, rows[9] = {};
    std::vector<float> got(9 * want.size());
    tw_step_t step = layers_step(tokens, positions, slots, ends);
    step.logit_rows = 9;
    step.logit_row = rows;
    step.logits_to = TW_LOGITS_TO_ALL;
    step.logits = got.data();
    EXPECT_EQ(tw_model_step(model.model(rank), &step, nullptr), TW_OK) << tw_last_error();
    for (size_t i = 0; i < 9; ++i)
      EXPECT_TRUE(std::equal(want.begin(), want.end(),
                             got.begin() + static_cast<ptrdiff_t>(i * want.size())))
          << "row " << i;
  });
}

/// Steps that are queued are taken as they were: their arrays are used again at once, and weights
/// and pages change when they are done.
TEST(ModelQueue, StepsAreTakenWhenTheyAreQueued) {
  constexpr int kSteps = 24, kPrompt = 100;
  const ReferenceModel reference = random_model(small_config(), 13);
  const std::vector<int> prompt = random_tokens(reference.config, kPrompt, 3);
  const std::vector<int> rest = random_tokens(reference.config, kSteps, 9);
  ModelRanks model(reference, {2, 1, step_limits(128, 16)});
  model.step({{0, prompt}});
  std::vector<std::vector<float>> want;
  for (const int token : rest) want.push_back(model.step({{0, {token}}}));
  model.end(0);
  static const int64_t kPage[] = {3, 1, 4, 0, 5, 9, 2, 6};
  model.ranks().run([&](int rank, tw_comm_t) {
    tw_stream_t stream;
    ASSERT_EQ(tw_stream_create(nullptr, &stream), TW_OK) << tw_last_error();
    std::vector<std::vector<float>> got(kSteps, std::vector<float>(want[0].size()));
    std::vector<int32_t> tokens(prompt.begin(), prompt.end()), positions;
    std::vector<int64_t> slots;
    const auto slot = [](int i) { return kPage[i / 16] * 16 + i % 16; };
    for (int i = 0; i < kPrompt; ++i) {
      positions.push_back(i);
      slots.push_back(slot(i));
    }
    uint32_t ends[] = {0, kPrompt, 0, 8};
    tw_step_t step = layers_step(tokens, positions, slots, ends);
    EXPECT_EQ(tw_model_step(model.model(rank), &step, stream), TW_OK) << tw_last_error();
    const uint32_t row = 0;
    ends[1] = 1;
    step.rows = step.logit_rows = 1;
    step.logit_row = &row;
    step.logits_to = TW_LOGITS_TO_ALL;
    for (int i = 0; i < kSteps; ++i) {
      tokens[0] = rest[static_cast<size_t>(i)];
      positions[0] = kPrompt + i;
      slots[0] = slot(kPrompt + i);
      step.logits = got[static_cast<size_t>(i)].data();
      EXPECT_EQ(tw_model_step(model.model(rank), &step, stream), TW_OK) << tw_last_error();
    }
    const std::vector<float> other(static_cast<size_t>(reference.config.hidden), 3);
    tw_weight_t norm = TW_WEIGHT_INIT;
    norm.name = "model.norm.weight";
    norm.data = other.data();
    norm.type = TW_FP32;
    norm.rows = 1;
    norm.cols = other.size();
    EXPECT_EQ(tw_model_set_weight(model.model(rank), &norm), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_stream_synchronize(stream), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_stream_destroy(stream), TW_OK) << tw_last_error();
    for (size_t i = 0; i < kSteps; ++i)
      EXPECT_TRUE(same_bits(got[i], want[i])) << "step " << i << " on rank " << rank;
  });
}

/// A rank that wants log probabilities needs the others' shares of them.
TEST(ModelParts, LogProbabilitiesAreWantedByAllOrNone) {
  const ReferenceModel reference = random_model(small_config(), 11);
  ModelRanks model(reference, {2, 1, step_limits(32)});
  model.ranks().run([&](int rank, tw_comm_t) {
    const std::vector<int32_t> tokens{1, 2}, positions{0, 1};
    const std::vector<int64_t> slots{48, 49};
    const uint32_t ends[] = {0, 2, 0, 8}, last = 1;
    const tw_sampling_t greedy{0, 0, 1, -1, 0};
    int32_t sampled = 0;
    float log_probability = 0;
    tw_step_t step = layers_step(tokens, positions, slots, ends);
    step.logit_rows = 1;
    step.logit_row = &last;
    step.sampling = &greedy;
    step.sampled = &sampled;
    step.log_probability = rank == 0 ? &log_probability : nullptr;
    EXPECT_EQ(tw_model_step(model.model(rank), &step, nullptr), TW_ERROR_MISMATCH);
    const std::string said = tw_last_error();
    EXPECT_NE(said.find("log_probability 1"), std::string::npos) << said;
  });
}

/// What a step computes follows from all of the description: ranks whose differ are told which.
TEST(ModelParts, DescriptionsThatDifferAreShown) {
  for (const char* what : {"rms_norm_eps", "rope_theta", "qk_norm"}) {
    const ThreadRanks ranks(2);
    ranks.run([&](int rank, tw_comm_t comm) {
      tw_model_desc_t desc = TW_MODEL_DESC_INIT;
      desc.layers = 1;
      desc.hidden = desc.ffn = desc.vocab = 64;
      desc.heads = desc.kv_heads = 2;
      desc.head_size = 32;
      desc.context = 1024;
      desc.rms_norm_eps = 1e-5F;
      if (rank == 1 && what == std::string("rms_norm_eps")) desc.rms_norm_eps = 1e-6F;
      if (rank == 1 && what == std::string("rope_theta")) desc.rope_theta = 500000;
      if (rank == 1 && what == std::string("qk_norm")) desc.qk_norm = 1;
      tw_model_t model = nullptr;
      ASSERT_EQ(tw_model_create(comm, &desc, &model), TW_OK) << tw_last_error();
      const tw_model_limits_t own = step_limits(32);
      EXPECT_EQ(tw_model_prepare(model, &own), TW_ERROR_MISMATCH);
      EXPECT_NE(std::string(tw_last_error()).find(what), std::string::npos) << tw_last_error();
      EXPECT_EQ(tw_model_destroy(model), TW_OK) << tw_last_error();
    });
  }
}

TEST(ModelParts, AStepIsOneLaunch) {
  const ReferenceModel reference = random_model(small_config(), 9);
  ModelRanks model(reference, {2, 1, step_limits(32)});
  model.step({{0, random_tokens(reference.config, 20, 5)}});
  const uint64_t before = model.launches();
  model.step({{0, {1}}});
  EXPECT_EQ(model.launches(), before + 1);
  model.step({{0, {2}}}, /*by_ops=*/true);
  EXPECT_GT(model.launches(), before + 20);
}

// ---- Timelines ----

struct Event {
  std::string name, category;
  int device, block;
  double start, end;
};
std::vector<Event> read_trace(const std::string& path) {
  std::ifstream file(path);
  std::vector<Event> events;
  const nlohmann::json whole = nlohmann::json::parse(file);
  for (const auto& e : whole["traceEvents"])
    events.push_back({e["name"], e["cat"], e["pid"], e["tid"], e["ts"],
                      e["ts"].get<double>() + e["dur"].get<double>()});
  return events;
}

/// Instructions of different ops of the layers, at the same time, on one device. (What comes before
/// the layers does not depend on each other.)
bool ops_overlap(const std::vector<Event>& events) {
  const std::set<std::string> ops{"qkv", "rope, append", "attend",   "merge",
                                  "o",   "add, norm",    "gate, up", "down"};
  std::vector<const Event*> works;
  for (const Event& e : events)
    if (e.category == "work" && ops.contains(e.name)) works.push_back(&e);
  for (const Event* a : works)
    for (const Event* b : works)
      if (a->device == b->device && a->block != b->block && a->name != b->name &&
          a->start < b->end && b->start < a->end)
        return true;
  return false;
}

class Timeline : public testing::Test {
 protected:
  ~Timeline() override { std::remove(path_.c_str()); }
  const std::string path_ = testing::TempDir() + "model_trace_" + std::to_string(getpid());
};

TEST_F(Timeline, OpsOverlapAndAllRanksAreInIt) {
  const ReferenceModel reference = random_model(small_config(), 12);
  ModelRanks model(reference, {2, 4, step_limits(128)});
  const auto all = [&](auto call) {
    model.ranks().run(
        [&](int rank, tw_comm_t) { EXPECT_EQ(call(model.model(rank)), TW_OK) << tw_last_error(); });
  };
  all([](tw_model_t m) { return tw_model_set_tracing(m, 1); });
  bool overlap = false;
  // On a machine that is busy with something else it may take a while.
  for (int i = 0; i < 200 && !overlap; ++i) {
    model.step({{i, random_tokens(reference.config, 100, 5)}});
    model.end(i);
    all([&](tw_model_t m) { return tw_model_write_trace(m, path_.c_str()); });
    const std::vector<Event> events = read_trace(path_);
    std::set<int> devices;
    std::set<std::string> names;
    for (const Event& e : events) {
      devices.insert(e.device);
      names.insert(e.name);
      EXPECT_LE(e.start, e.end);
      EXPECT_TRUE(e.block >= 0 && e.block < 4);
    }
    EXPECT_EQ(devices, (std::set<int>{0, 1}));
    for (const char* name : {"embed", "qkv", "attend", "o", "gate, up", "down", "logits", "sample"})
      EXPECT_TRUE(names.contains(name)) << name;
    overlap = ops_overlap(events);
  }
  EXPECT_TRUE(overlap) << "ops came one after the other";
}

TEST_F(Timeline, TheEnvironmentAsksForTheLastStep) {
  const ScopedEnv env("TW_PROGRAM_TRACE", path_);
  const ReferenceModel reference = random_model(small_config(), 13);
  {
    ModelRanks model(reference, {2, 1, step_limits(32)});
    model.step({{0, {1, 2, 3}}});
    model.step({{0, {4}}});
  }
  EXPECT_GT(read_trace(path_).size(), 40U);
}

/// Greedy is the largest logit; the same seed draws the same; one candidate is greedy.
TEST(ModelParts, TokensAreDrawnFromTheLogits) {
  const ReferenceModel reference = random_model(small_config(), 10);
  const auto vocab = static_cast<size_t>(reference.config.vocab);
  for (const int ranks : {1, 2, 3}) {
    ModelRanks model(reference, {ranks, 1, step_limits(32)});
    const std::vector<int> tokens = random_tokens(reference.config, 20, 6);
    const std::vector<float> logits = model.step({{0, tokens}});
    const auto last = logits.end() - static_cast<long>(vocab);
    const int best = static_cast<int>(std::max_element(last, logits.end()) - last);
    const tw_sampling_t greedy{0, 0, 1, -1, 0}, one{1, 1, 1, -1, 5}, free{1.5F, 0, 0.95F, -1, 77};
    EXPECT_EQ(model.sample({{1, tokens}}, greedy)[0], best);
    EXPECT_EQ(model.sample({{2, tokens}}, one)[0], best);
    const int drawn = model.sample({{3, tokens}}, free)[0];
    EXPECT_EQ(model.sample({{4, tokens}, {5, {1, 2, 3}}}, free)[0], drawn);
  }
}

}  // namespace
}  // namespace tw::test
