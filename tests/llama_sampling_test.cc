// The tests' reference of sampling, by hand.
#include "tests/support/llama_sampling.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tw::test {
namespace {

/// Probabilities 1/10, 4/10, 2/10, 2/10, 1/10 at temperature 1.
const std::vector<double> kLogits = {0, std::log(4), std::log(2), std::log(2), 0};

std::vector<int> tokens_of(const Sampling& sampling) {
  std::vector<int> tokens;
  for (const Candidate& c : candidates(kLogits.data(), 5, sampling)) tokens.push_back(c.token);
  return tokens;
}

int draw(const Sampling& sampling, double uniform) {
  return sample(kLogits.data(), 5, sampling, uniform);
}

TEST(LlamaSampling, GreedyTakesTheFirstOfEqual) {
  EXPECT_EQ(greedy(kLogits.data(), 5), 1);
  EXPECT_EQ(greedy(kLogits.data() + 2, 3), 0);
  EXPECT_EQ(draw({0, 3, 0.5}, 0.99), 1);
}

TEST(LlamaSampling, Temperature) {
  const auto half = candidates(kLogits.data(), 5, {0.5, 0, 1});  // squares: 1 16 4 4 1
  ASSERT_EQ(half.size(), 5u);
  EXPECT_NEAR(half[0].probability, 16 / 26.0, 1e-12);
  EXPECT_NEAR(half[4].probability, 1 / 26.0, 1e-12);
}

TEST(LlamaSampling, TopKThenTopP) {
  EXPECT_EQ(tokens_of({1, 0, 1}), (std::vector<int>{1, 2, 3, 0, 4}));
  EXPECT_EQ(tokens_of({1, 2, 1}), (std::vector<int>{1, 2}));
  EXPECT_EQ(tokens_of({1, 9, 1}).size(), 5u);
  EXPECT_EQ(tokens_of({1, 0, 0.39}), (std::vector<int>{1}));
  EXPECT_EQ(tokens_of({1, 0, 0.41}), (std::vector<int>{1, 2}));
  EXPECT_EQ(tokens_of({1, 0, 0}), (std::vector<int>{1}));
  // Of the first three, 4/8 2/8 2/8: without renormalising 0.7 would need all of them.
  EXPECT_EQ(tokens_of({1, 3, 0.7}), (std::vector<int>{1, 2}));
}

TEST(LlamaSampling, UniformNumberWalksTheCandidates) {
  const Sampling all{1, 0, 1};
  EXPECT_EQ(draw(all, 0), 1);
  EXPECT_EQ(draw(all, 0.39), 1);
  EXPECT_EQ(draw(all, 0.41), 2);
  EXPECT_EQ(draw(all, 0.61), 3);
  EXPECT_EQ(draw(all, 0.81), 0);
  EXPECT_EQ(draw(all, 0.91), 4);
  EXPECT_EQ(draw(all, std::nextafter(1, 0)), 4);
  EXPECT_EQ(draw({1, 2, 1}, 0.66), 1);
  EXPECT_EQ(draw({1, 2, 1}, 0.67), 2);
}

}  // namespace
}  // namespace tw::test
