// Whole models in one launch a step, against the float64 reference; and that a sequence's bits do
// not depend on what else is in its step.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <utility>

#include "tests/support/llama_cases.h"
#include "tests/support/llama_reference.h"
#include "tests/support/model_ranks.h"

namespace tw::test {
namespace {

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
  ModelRanks model(reference, {ranks, 1, step_limits(32, 5)});
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
  tw_model_limits_t all = step_limits(64);
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
  tw_model_limits_t all = step_limits(64);
  all.context = 0;  // the file's
  ModelRanks model(base + ".gguf", kVocab, {2, 1, all});
  expect_close(model.step({{0, tokens}}), read_logits(base + ".logits"), 2 * kTolerance);
}
INSTANTIATE_TEST_SUITE_P(Types, QuantizedFiles,
                         testing::Values("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0",
                                         "Q5_1", "Q4_K", "Q5_K", "Q6_K"),
                         [](const auto& info) { return std::string(info.param); });

// ---- Bits ----

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

class Bits : public testing::TestWithParam<std::pair<int, int>> {
 protected:
  Bits() {
    const auto [ranks, workers] = GetParam();
    shape_ = {ranks, workers, step_limits(160, 16)};
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
    shape_.limits = step_limits(160, page_size);
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

}  // namespace
}  // namespace tw::test
