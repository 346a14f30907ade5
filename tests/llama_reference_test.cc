// The tests' reference of whole models: agrees with llama.cpp, and its ways with each other.
#include "tests/support/llama_reference.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <fstream>

#include "tests/support/llama_cases.h"
#include "tests/support/reference.h"

namespace tw::test {
namespace {

using Values = std::vector<double>;

double deviation(const Values& values) {
  double sum = 0, squares = 0;
  for (const double x : values) sum += x, squares += x * x;
  const double count = static_cast<double>(values.size()), mean = sum / count;
  return std::sqrt(squares / count - mean * mean);
}

/// The largest difference, as a share of the expected values' deviation.
double off(const Values& got, const Values& expected) {
  if (got.size() != expected.size()) return INFINITY;
  double largest = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (!std::isfinite(got[i])) return INFINITY;
    largest = std::max(largest, std::fabs(got[i] - expected[i]));
  }
  return largest / deviation(expected);
}

/// Little-endian floats.
Values read_floats(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  Values values;
  for (unsigned char bytes[4]; file.read(reinterpret_cast<char*>(bytes), sizeof bytes);) {
    uint32_t word = 0;
    for (int i = 0; i < 4; ++i) word |= static_cast<uint32_t>(bytes[i]) << (8 * i);
    values.push_back(std::bit_cast<float>(word));
  }
  return values;
}

class LlamaReference : public testing::TestWithParam<LlamaCase> {
 protected:
  const LlamaCase& here() const { return GetParam(); }
  const ReferenceModel model_ = random_model(GetParam().config, GetParam().seed);
  const std::vector<int> tokens_ =
      random_tokens(GetParam().config, GetParam().tokens, GetParam().seed);
};

/// llama.cpp computes in fp32: 24 bits, some hundred additions a value, two layers.
constexpr double kFp32 = 2e-5;

TEST_P(LlamaReference, AgreesWithLlamaCpp) {
  const Values expected =
      read_floats(std::string("tests/fixtures/llama/") + here().name + ".logits");
  const Values got = logits(model_, tokens_);
  const double difference = off(got, expected);
  EXPECT_LE(difference, kFp32);
  RecordProperty("difference", std::to_string(difference));
}

TEST_P(LlamaReference, LogitsSpread) {
  const double spread = deviation(logits(model_, tokens_));
  EXPECT_GT(spread, 2);
  EXPECT_LT(spread, 5);
}

TEST_P(LlamaReference, PiecesAndCopiesGiveTheSameBits) {
  const Values whole = logits(model_, tokens_);
  ReferenceSequence sequence(model_);
  Values pieces;
  size_t at = 0;
  for (const size_t length : {1, 7, 0, 12, 1, 19}) {
    ReferenceSequence other = sequence;
    other.append({0, 1});
    const std::vector<int> piece(tokens_.begin() + at, tokens_.begin() + at + length);
    const Values rows = sequence.append(piece);
    pieces.insert(pieces.end(), rows.begin(), rows.end());
    at += length;
  }
  ASSERT_EQ(at, tokens_.size());
  EXPECT_EQ(pieces, whole);
  EXPECT_EQ(sequence.next_position(), here().tokens);
}

TEST_P(LlamaReference, LayersInStagesGiveTheSameBits) {
  ReferenceSequence first(model_), last(model_);
  std::vector<int> positions(tokens_.size());
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int>(i);
  const Values middle = first.run(first.embed(tokens_), positions, 0, 1);
  EXPECT_EQ(last.head(last.run(middle, positions, 1, 2)), logits(model_, tokens_));
  EXPECT_TRUE(first.keys(1).empty());
  EXPECT_EQ(last.values(1).size(),
            tokens_.size() * here().config.kv_heads * here().config.head_size);
}

TEST_P(LlamaReference, RopeTellsDistancesOnly) {
  std::vector<int> positions(tokens_.size());
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int>(i) + 1000;
  EXPECT_LE(off(ReferenceSequence(model_).append(tokens_, positions), logits(model_, tokens_)),
            1e-9);
}

/// Each place changes the logits, by about what rounding to 8 bits does.
TEST_P(LlamaReference, Roundings) {
  const Values exact = logits(model_, tokens_);
  for (const auto place :
       {&Rounding::norms, &Rounding::qkv, &Rounding::cached, &Rounding::probabilities,
        &Rounding::attention, &Rounding::projections, &Rounding::residual, &Rounding::gate_up,
        &Rounding::swiglu, &Rounding::logits}) {
    Rounding rounding;
    rounding.*place = true;
    const double difference = off(logits(model_, tokens_, rounding), exact);
    EXPECT_GT(difference, 1e-4);
    EXPECT_LT(difference, 0.2);
  }
  EXPECT_LT(off(logits(model_, tokens_, Rounding::all()), exact), 0.3);
  for (const double x : logits(model_, tokens_, Rounding::all())) ASSERT_EQ(x, round_to_bf16(x));
}

TEST_P(LlamaReference, WeightsAreBf16) {
  for (const auto& [name, weight] : model_.weights) {
    ASSERT_EQ(weight.values.size(), weight.rows * weight.cols) << name;
    for (const float x : weight.values) ASSERT_EQ(x, decode(TW_BF16, encode(TW_BF16, x))) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, LlamaReference, testing::ValuesIn(llama_cases()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(LlamaModel, RoundingIsThatOfBf16) {
  const std::vector<unsigned char> bytes = noise(4 * 100000, 3);
  for (size_t i = 0; i < bytes.size(); i += 4) {
    const float x =
        std::ldexp(static_cast<float>(bytes[i] << 16 | bytes[i + 1] << 8 | bytes[i + 2]),
                   bytes[i + 3] % 64 - 32);
    ASSERT_EQ(round_to_bf16(x), decode(TW_BF16, encode(TW_BF16, x))) << x;
    ASSERT_EQ(round_to_bf16(-x), -round_to_bf16(x)) << x;
  }
}

TEST(LlamaModel, AWeightDoesNotHangOnTheOthers) {
  LlamaConfig config = llama_cases()[0].config;
  const ReferenceModel one = random_model(config, 1);
  config.layers = 3;
  config.vocab = 200;
  const ReferenceModel other = random_model(config, 1);
  const std::string name = layer_weight(1, "mlp.up_proj.weight");
  EXPECT_EQ(one.weights.at(name).values, other.weights.at(name).values);
  EXPECT_NE(one.weights.at(name).values, random_model(config, 2).weights.at(name).values);
}

}  // namespace
}  // namespace tw::test
