// Whole models in one launch a step, against the float64 reference; and that a sequence's bits do
// not depend on what else is in its step.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

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
  EXPECT_LT(e.most, 6 * tolerance);
}

constexpr double kTolerance = 0.012;

std::vector<int> part(const std::vector<int>& tokens, size_t first, size_t count) {
  return {tokens.begin() + static_cast<long>(first), tokens.begin() + static_cast<long>(first + count)};
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

}  // namespace
}  // namespace tw::test
