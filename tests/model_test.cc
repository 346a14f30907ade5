// Whole models in one launch a step, against the float64 reference; and that a sequence's bits do
// not depend on what else is in its step.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <string>
#include <utility>

#include "tests/support/llama_cases.h"
#include "tests/support/llama_reference.h"
#include "tests/support/model_ranks.h"

namespace tw::test {
namespace {

tw_model_limits_t limits(uint32_t rows, uint32_t page_size = 16) {
  tw_model_limits_t l = TW_MODEL_LIMITS_INIT;
  l.rows = l.logit_rows = rows;
  l.sequences = std::min(rows, 8u);
  l.context = 1024;
  l.page_size = page_size;
  l.pages = 4096 / page_size;
  l.table_pages = 2 * l.pages;
  l.slots = 4;
  return l;
}

/// Where the library rounds.
Rounding rounding() {
  Rounding r;
  r.norms = r.qkv = r.cached = r.attention = r.projections = r.swiglu = true;
  return r;
}

struct Error {
  double rms = 0, most = 0;  // in deviations of the reference's logits
};
Error error_of(const std::vector<float>& got, const std::vector<double>& want) {
  EXPECT_EQ(got.size(), want.size());
  double sum = 0, squares = 0, error = 0, most = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    sum += want[i];
    squares += want[i] * want[i];
    const double d = static_cast<double>(got[i]) - want[i];
    error += d * d;
    most = std::isfinite(d) ? std::max(most, std::abs(d)) : INFINITY;
  }
  const auto n = static_cast<double>(want.size());
  const double deviation = std::sqrt(squares / n - sum / n * (sum / n));
  return {std::sqrt(error / n) / deviation, most / deviation};
}
void expect_close(const std::vector<float>& got, const std::vector<double>& want,
                  double tolerance) {
  const Error e = error_of(got, want);
  EXPECT_LT(e.rms, tolerance);
  EXPECT_LT(e.most, 10 * tolerance);
}

constexpr double kTolerance = 0.016;

std::vector<int> part(const std::vector<int>& tokens, size_t first, size_t count) {
  return {tokens.begin() + static_cast<long>(first),
          tokens.begin() + static_cast<long>(first + count)};
}
void append(std::vector<float>* to, const std::vector<float>& more) {
  to->insert(to->end(), more.begin(), more.end());
}

class Model : public testing::TestWithParam<std::tuple<LlamaCase, int>> {};

/// Prompt in two parts, then tokens one by one; op by op gives the same bits.
TEST_P(Model, AgreesWithTheReference) {
  const auto& [c, ranks] = GetParam();
  const ReferenceModel reference = random_model(c.config, c.seed);
  const std::vector<int> tokens = random_tokens(c.config, c.tokens, c.seed);
  ModelRanks model(reference, {ranks, 1, limits(32, 5)});
  std::vector<float> got = model.step({{0, part(tokens, 0, 20)}});
  append(&got, model.step({{0, part(tokens, 20, 12)}}));
  for (size_t i = 32; i < tokens.size(); ++i) append(&got, model.step({{0, {tokens[i]}}}));
  expect_close(got, logits(reference, tokens, rounding()), kTolerance);

  model.end(0);
  std::vector<float> by_ops = model.step({{0, part(tokens, 0, 32)}}, /*by_ops=*/true);
  EXPECT_EQ(std::memcmp(by_ops.data(), got.data(), by_ops.size() * sizeof(float)), 0);
}

std::string name_of(const testing::TestParamInfo<std::tuple<LlamaCase, int>>& info) {
  return std::string(std::get<0>(info.param).name) + "_" + std::to_string(std::get<1>(info.param));
}
INSTANTIATE_TEST_SUITE_P(Cases, Model,
                         testing::Combine(testing::ValuesIn(llama_cases()),
                                          testing::Values(1, 2, 3)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(ManyRanks, Model,
                         testing::Combine(testing::Values(llama_cases()[5], llama_cases()[4]),
                                          testing::Values(4, 8)),
                         name_of);

// ---- Files ----

/// Little-endian floats.
std::vector<double> read_logits(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  std::vector<double> values;
  for (float x = 0; file.read(reinterpret_cast<char*>(&x), sizeof x);) values.push_back(x);
  return values;
}

class ModelFiles : public testing::TestWithParam<LlamaCase> {};

/// The logits of llama.cpp, which keeps fp32 between ops.
TEST_P(ModelFiles, GiveTheLogitsOfLlamaCpp) {
  const LlamaCase& c = GetParam();
  const std::string base = std::string("tests/fixtures/llama/") + c.name;
  const std::vector<int> tokens = random_tokens(c.config, c.tokens, c.seed);
  tw_model_limits_t all = limits(64);
  all.context = 0;  // the file's
  ModelRanks model(base + ".gguf", c.config.vocab, {2, 1, all});
  expect_close(model.step({{0, tokens}}), read_logits(base + ".logits"), 2 * kTolerance);
}
INSTANTIATE_TEST_SUITE_P(Cases, ModelFiles, testing::ValuesIn(llama_cases()),
                         [](const auto& info) { return std::string(info.param.name); });

/// What llama-quantize wrote: one file a type.
class QuantizedFiles : public testing::TestWithParam<const char*> {};

TEST_P(QuantizedFiles, GiveTheLogitsOfLlamaCpp) {
  constexpr int kVocab = 48;
  std::vector<int> tokens;  // those of make_quantized_fixtures
  for (int i = 0; i < 40; ++i) tokens.push_back((7 * i * i + 3 * i + 1) % kVocab);
  const std::string base = std::string("tests/fixtures/models/quantized/") + GetParam();
  tw_model_limits_t all = limits(64);
  all.context = 0;  // the file's
  ModelRanks model(base + ".gguf", kVocab, {2, 1, all});
  expect_close(model.step({{0, tokens}}), read_logits(base + ".logits"), 2 * kTolerance);
}
INSTANTIATE_TEST_SUITE_P(Types, QuantizedFiles,
                         testing::Values("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0",
                                         "Q5_1", "Q4_K", "Q5_K", "Q6_K"),
                         [](const auto& info) { return std::string(info.param); });

// ---- Bits ----

LlamaConfig small_config() {
  LlamaConfig c;
  c.hidden = 48;
  c.heads = 6;
  c.kv_heads = 3;
  c.head_size = 64;
  c.ffn = 80;
  c.vocab = 131;
  return c;
}

/// Logits of a sequence of its own, token by token.
class Alone {
 public:
  Alone(const ReferenceModel& reference, const ModelRanksShape& shape) : model_(reference, shape) {}
  std::vector<float> operator()(const std::vector<int>& tokens) {
    std::vector<float> logits;
    for (const int token : tokens) append(&logits, model_.step({{0, {token}}}));
    model_.end(0);
    return logits;
  }

 private:
  ModelRanks model_;
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class Bits : public testing::TestWithParam<std::pair<int, int>> {
 protected:
  Bits() {
    const auto [ranks, workers] = GetParam();
    shape_ = {ranks, workers, limits(160, 16)};
  }
  const ReferenceModel reference_ = random_model(small_config(), 7);
  ModelRanksShape shape_;
};

/// 150 rows have owners, few do not; pages have other numbers and sizes.
TEST_P(Bits, OfAPromptDoNotDependOnItsParts) {
  const std::vector<int> tokens = random_tokens(reference_.config, 150, 3);
  const std::vector<float> want = Alone(reference_, shape_)(tokens);
  const size_t vocab = static_cast<size_t>(reference_.config.vocab);
  for (const uint32_t page_size : {1U, 7U, 256U}) {
    shape_.limits = limits(160, page_size);
    ModelRanks model(reference_, shape_);
    model.shuffle_pages(page_size);
    EXPECT_TRUE(same_bits(model.step({{0, tokens}}), want)) << "whole";
    std::vector<float> parts;
    for (size_t at = 0; at < tokens.size();) {
      const size_t count = std::min<size_t>(1 + at % 71, tokens.size() - at);
      append(&parts, model.step({{1, part(tokens, at, count)}}));
      at += count;
    }
    ASSERT_EQ(parts.size(), tokens.size() * vocab);
    EXPECT_TRUE(same_bits(parts, want)) << "in parts, pages of " << page_size;
  }
}

#if defined(TW_SANITIZE_THREAD) || defined(TW_SANITIZE_ADDRESS)
constexpr int kManySteps = 60;
#else
constexpr int kManySteps = 200;
#endif

/// Steps of many sequences at any stage, pages given back and taken again, prefixes shared.
TEST_P(Bits, OfASequenceDoNotDependOnTheOthers) {
  std::mt19937_64 random(static_cast<uint64_t>(GetParam().first));
  ModelRanks model(reference_, shape_);
  std::map<int, std::pair<std::vector<int>, std::vector<float>>> live;
  Alone alone(reference_, shape_);
  const auto vocab = static_cast<size_t>(reference_.config.vocab);
  // More workers than cores take long, and show the same as elsewhere.
  const int steps = GetParam().second > 1 ? 60 : kManySteps;
  int next = 0, mixed = 0;
  const auto finish = [&](int id) {
    EXPECT_TRUE(same_bits(alone(live[id].first), live[id].second)) << "sequence " << id;
    model.end(id);
    live.erase(id);
  };
  for (int step = 0; step < steps; ++step) {
    std::vector<Chunk> chunks;
    bool begins = false, decodes = false;
    if (live.size() < 6) live[next++];
    if (step % 9 == 8) {
      const auto& [from, state] = *live.begin();
      const auto shared = static_cast<int>(state.first.size() - state.first.size() / 4);
      model.fork(from, next, shared);
      live[next].first = part(state.first, 0, static_cast<size_t>(shared));
      live[next].second.assign(
          state.second.begin(),
          state.second.begin() + static_cast<long>(static_cast<size_t>(shared) * vocab));
      ++next;
    }
    for (auto& [id, state] : live) {
      const int most = state.first.empty() ? 40 : random() % 4 == 0 ? 5 : 1;
      const int count = 1 + static_cast<int>(random() % static_cast<uint64_t>(most));
      const std::vector<int> tokens = random_tokens(reference_.config, count, random());
      chunks.push_back({id, tokens});
      begins |= state.first.empty() && count > 1;
      decodes |= !state.first.empty() && count == 1;
      state.first.insert(state.first.end(), tokens.begin(), tokens.end());
    }
    mixed += begins && decodes ? 1 : 0;
    const std::vector<float> logits = model.step(chunks);
    size_t at = 0;
    for (const Chunk& chunk : chunks) {
      const size_t count = chunk.tokens.size() * vocab;
      append(&live[chunk.sequence].second, {logits.begin() + static_cast<long>(at),
                                            logits.begin() + static_cast<long>(at + count)});
      at += count;
    }
    if (step % 5 == 4) finish(live.begin()->first);
  }
  while (!live.empty()) finish(live.begin()->first);
  EXPECT_GT(mixed, steps / 10) << "steps with prompts beside decoded rows";
  EXPECT_GT(model.reused_pages(), static_cast<size_t>(steps / 10));
}

std::string name_of_shape(const testing::TestParamInfo<std::pair<int, int>>& info) {
  return std::to_string(info.param.first) + "_ranks_" + std::to_string(info.param.second) +
         "_workers";
}
INSTANTIATE_TEST_SUITE_P(Shapes, Bits,
                         testing::Values(std::pair{1, 1}, std::pair{2, 1}, std::pair{3, 2}),
                         name_of_shape);

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
    ModelRanks model(reference, {2, 1, limits(128, 16)});
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
  ModelRanks model(reference, {2, 1, limits(32)});
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
    ModelRanks model(reference, {2, 1, limits(32)});
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

/// A row's logits may be asked for more than once, more often than there are rows.
TEST(ModelParts, MoreLogitsThanRows) {
  const ReferenceModel reference = random_model(small_config(), 12);
  ModelRanks model(reference, {2, 1, limits(32)});
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
  ModelRanks model(reference, {2, 1, limits(128, 16)});
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
  ModelRanks model(reference, {2, 1, limits(32)});
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
      const tw_model_limits_t own = limits(32);
      EXPECT_EQ(tw_model_prepare(model, &own), TW_ERROR_MISMATCH);
      EXPECT_NE(std::string(tw_last_error()).find(what), std::string::npos) << tw_last_error();
      EXPECT_EQ(tw_model_destroy(model), TW_OK) << tw_last_error();
    });
  }
}

TEST(ModelParts, AStepIsOneLaunch) {
  const ReferenceModel reference = random_model(small_config(), 9);
  ModelRanks model(reference, {2, 1, limits(32)});
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
  ModelRanks model(reference, {2, 4, limits(128)});
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
    ModelRanks model(reference, {2, 1, limits(32)});
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
    ModelRanks model(reference, {ranks, 1, limits(32)});
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
