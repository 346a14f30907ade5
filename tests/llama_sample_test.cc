// How a Llama program chooses tokens, on every target that this machine runs and over 1 to 4 ranks
// with uneven shares of the vocabulary: against the float64 reference, over poisoned memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "tests/support/llama_ops.h"
#include "tests/support/llama_sampling.h"
#include "tests/support/program_ranks.h"
#include "tilewire/kernels/llama.h"

namespace tw::test {
namespace {

using Random = std::mt19937;
constexpr float kInfinite = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// A row of logits and what is wanted of it.
struct SampleRow {
  std::vector<float> logits;
  RowSampling sampling{0, 0, 1, -1, 0};
  int32_t position = 0;
  std::vector<bool> allowed = {};  // empty: all
};

struct Chosen {
  int32_t token;
  float log_probability;
  bool operator==(const Chosen&) const = default;
};

/// The ranks' programs for rows of one vocabulary.
class SampleRanks {
 public:
  SampleRanks(const std::vector<size_t>& shares, const std::vector<SampleRow>& rows,
              size_t slots = 0)
      : shares_(shares), rows_(rows), vocab_(rows[0].logits.size()), slots_(slots, -7) {
    const size_t words = (vocab_ + 31) / 32;
    bool masked = false;
    for (const SampleRow& row : rows) masked |= !row.allowed.empty();
    for (size_t i = 0; i < rows.size(); ++i) {
      sampling_.push_back(rows[i].sampling);
      // Rows of the step are the logits' rows backwards, and one more.
      logit_row_.push_back(static_cast<uint32_t>(rows.size() - i));
      positions_.insert(positions_.begin(), rows[i].position);
      for (size_t w = 0; masked && w < words; ++w) {
        uint32_t word = 0;
        for (size_t b = 0; b < 32; ++b) {
          const size_t token = w * 32 + b;
          const bool on = rows[i].allowed.empty() || token >= vocab_ || rows[i].allowed[token];
          word |= on ? 1U << b : 0;
        }
        allowed_.push_back(word);
      }
    }
    positions_.insert(positions_.begin(), 12345);
  }

  /// `gather`: ranks have all of the logits; others' columns are poisoned otherwise.
  void run(const OpTarget& target, bool gather, bool log_probabilities = true, int blocks = 1,
           uint32_t piece = 5) {
    const size_t ranks = shares_.size(), n = rows_.size(), stride = vocab_ + 3;
    const size_t logits_bytes = n * stride * 4, record_stride = SampleRecord::kFields + 1;
    const size_t sender_bytes = n * record_stride * 4 + 64;
    TileWorld world({.ranks = static_cast<int>(ranks),
                     .blocks = blocks,
                     .bytes = logits_bytes + ranks * sender_bytes});
    tokens_.assign(ranks, std::vector<int32_t>(n + 1, -77));
    shares_of_.assign(ranks, std::vector<float>(n + 1, 77.0F));
    rank_slots_.assign(ranks, slots_);
    world.run([&](int rank) {
      const auto r = static_cast<size_t>(rank);
      const StepView step = step_of(r, log_probabilities);
      ProgramRank own(world, rank);
      own.row = SampleRecord::kFields;
      own.scratch_bytes = sample_scratch_bytes(vocab_);
      const size_t begin = begin_of(r);
      write_logits(own.data(), stride, gather ? 0 : begin, gather ? vocab_ : begin + shares_[r]);
      const LlamaSample args{&step,
                             vocab_,
                             begin,
                             shares_[r],
                             {0, stride, TW_FP32},
                             {logits_bytes, record_stride, TW_FP32},
                             sender_bytes,
                             (1U << ranks) - 1};
      const uint32_t local = own.op(OpKind::kSampleLocal, args);
      const uint32_t sample = own.op(OpKind::kSample, args);
      const auto count = static_cast<uint32_t>(n);
      for (uint32_t i = 0; i < count + piece; i += piece) own.add(local, {i, piece}, {}, 0);
      for (uint32_t i = 0; i < count + piece; i += piece) own.add(sample, {i, piece}, {0});
      own.launch(target.entry, 1, blocks, blocks > 1);
    });
    ASSERT_EQ(world.failure(), TW_OK) << target.name;
    for (size_t r = 0; r < ranks; ++r) {
      EXPECT_EQ(tokens_[r][n], -77) << "beyond the rows";
      EXPECT_EQ(tokens_[r], tokens_[0]) << target.name << ": ranks differ";
      EXPECT_EQ(std::memcmp(shares_of_[r].data(), shares_of_[0].data(), (n + 1) * 4), 0);
      EXPECT_EQ(rank_slots_[r], rank_slots_[0]);
    }
  }

  Chosen at(size_t i) const { return {tokens_[0][i], shares_of_[0][i]}; }
  const std::vector<int32_t>& slots() const { return rank_slots_[0]; }

 private:
  size_t begin_of(size_t rank) const {
    size_t begin = 0;
    for (size_t r = 0; r < rank; ++r) begin += shares_[r];
    return begin;
  }
  void write_logits(char* to, size_t stride, size_t begin, size_t end) const {
    for (size_t i = 0; i < rows_.size(); ++i)
      std::memcpy(to + (i * stride + begin) * 4, rows_[i].logits.data() + begin, (end - begin) * 4);
  }
  StepView step_of(size_t rank, bool log_probabilities) {
    StepView step{};
    step.rows = static_cast<uint32_t>(positions_.size());
    step.logit_rows = static_cast<uint32_t>(rows_.size());
    step.positions = positions_.data();
    step.logit_row = logit_row_.data();
    step.sampling = sampling_.data();
    step.allowed = allowed_.empty() ? nullptr : allowed_.data();
    step.sampled = tokens_[rank].data();
    step.log_probability = log_probabilities ? shares_of_[rank].data() : nullptr;
    step.sampled_slots = rank_slots_[rank].data();
    step.slot_count = static_cast<uint32_t>(slots_.size());
    return step;
  }

  const std::vector<size_t> shares_;
  const std::vector<SampleRow> rows_;
  const size_t vocab_;
  std::vector<int32_t> slots_, positions_;
  std::vector<RowSampling> sampling_;
  std::vector<uint32_t> logit_row_, allowed_;
  std::vector<std::vector<int32_t>> tokens_, rank_slots_;
  std::vector<std::vector<float>> shares_of_;
};

// ---- The reference ----

/// The number that is drawn, as RowSampling tells.
double number_of(uint64_t seed, int32_t position) {
  const auto mix = [](uint64_t z) {
    z ^= z >> 30;
    z *= 0xbf58476d1ce4e5b9U;
    z ^= z >> 27;
    z *= 0x94d049bb133111ebU;
    return z ^ z >> 31;
  };
  const uint64_t step = 0x9e3779b97f4a7c15U;
  const uint64_t x = mix(mix(seed + step) + (static_cast<uint64_t>(position) + 1) * step);
  return static_cast<double>(x >> 32) / 4294967296.0;
}

/// The tokens of a row that can be chosen, and their logits, largest first: the reference sorts by
/// probabilities, which may be equal where logits are not.
struct Choices {
  std::vector<int32_t> tokens;
  std::vector<double> logits;
  explicit Choices(const SampleRow& row) {
    for (size_t t = 0; t < row.logits.size(); ++t) {
      const float x = std::min(row.logits[t], FLT_MAX);
      if (!row.allowed.empty() && !row.allowed[t]) continue;
      if (std::isnan(row.logits[t]) || x == -kInfinite) continue;
      tokens.push_back(static_cast<int32_t>(t));
    }
    const auto logit = [&](int32_t t) {
      return std::min(row.logits[static_cast<size_t>(t)], FLT_MAX);
    };
    std::stable_sort(tokens.begin(), tokens.end(),
                     [&](int32_t a, int32_t b) { return logit(a) > logit(b); });
    for (const int32_t t : tokens) logits.push_back(logit(t));
  }
  int32_t sampled(const Sampling& sampling, double number) const {
    const int at = sample(logits.data(), static_cast<int>(logits.size()), sampling, number);
    return tokens[static_cast<size_t>(at)];
  }
  double log_probability(int32_t token) const {
    const double most = *std::max_element(logits.begin(), logits.end());
    double sum = 0, own = -kInfinite;
    for (size_t i = 0; i < logits.size(); ++i) {
      sum += std::exp(logits[i] - most);
      if (tokens[i] == token) own = logits[i];
    }
    return own - most - std::log(sum);
  }
};

/// How many tokens were not the reference's, but what it says of numbers within rounding.
size_t expect_row(const SampleRow& row, const Chosen& got, bool log_probability = true) {
  const Choices choices(row);
  if (choices.tokens.empty()) {
    EXPECT_EQ(got.token, -1);
    if (log_probability) {
      EXPECT_EQ(got.log_probability, -kInfinite);
    }
    return 0;
  }
  if (log_probability) {
    const double want = choices.log_probability(got.token);
    EXPECT_NEAR(got.log_probability, want, 2e-6 + 1e-6 * std::abs(want));
  }
  const double number = number_of(row.sampling.seed, row.position);
  const Sampling asked{row.sampling.temperature, row.sampling.top_k, row.sampling.top_p};
  const int32_t want = choices.sampled(asked, number);
  if (got.token == want) return 0;
  bool near = false;
  constexpr double kNear = 1e-5;
  for (const double dn : {-kNear, 0.0, kNear})
    for (const double dp : {-kNear, 0.0, kNear}) {
      Sampling changed = asked;
      if (changed.top_p < 1) changed.top_p += dp;
      near |= choices.sampled(changed, std::clamp(number + dn, 0.0, 1.0)) == got.token;
    }
  EXPECT_TRUE(near && asked.temperature > 0)
      << "token " << got.token << " for " << want << ", temperature " << asked.temperature
      << ", top_k " << asked.top_k << ", top_p " << asked.top_p << ", number " << number;
  return 1;
}

/// Runs rows and expects what the reference says.
void expect_rows(const OpTarget& target, const std::vector<size_t>& shares,
                 const std::vector<SampleRow>& rows, bool gather, int blocks = 1) {
  SampleRanks ranks(shares, rows);
  ranks.run(target, gather, true, blocks);
  std::vector<Chosen> with;
  size_t near = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    SCOPED_TRACE(target.name + ", row " + std::to_string(i));
    near += expect_row(rows[i], ranks.at(i));
    with.push_back(ranks.at(i));
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_LE(near, rows.size() / 100);
  ranks.run(target, gather, /*log_probabilities=*/false, blocks, 3);
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(ranks.at(i).token, with[i].token);
    EXPECT_EQ(ranks.at(i).log_probability, 77.0F);
  }
}

// ---- Rows ----

std::vector<float> normal_logits(Random& random, size_t n, float width) {
  std::normal_distribution<float> normal(0, width);
  std::vector<float> logits(n);
  for (float& x : logits) x = normal(random);
  return logits;
}
/// Few values, so many ties.
std::vector<float> stepped_logits(Random& random, size_t n) {
  std::vector<float> logits = normal_logits(random, n, 1.5F);
  for (float& x : logits) x = std::round(x);
  return logits;
}
std::vector<bool> some_allowed(Random& random, size_t n, int of) {
  std::vector<bool> allowed(n);
  for (size_t i = 0; i < n; ++i) allowed[i] = random() % static_cast<unsigned>(of) == 0;
  return allowed;
}

/// Uneven shares of a vocabulary over 1 to 4 ranks.
std::vector<std::vector<size_t>> shares_of(size_t n) {
  return {{n}, {n - n / 3, n / 3}, {1, n / 2, n - n / 2 - 1}, {n / 5, 0, n / 7, n - n / 5 - n / 7}};
}

constexpr size_t kVocab = 333;

TEST(LlamaSample, GreedyOverRanks) {
  Random random(3);
  std::vector<SampleRow> rows;
  for (int turn = 0; turn < 8; ++turn) {
    rows.push_back({normal_logits(random, kVocab, 2)});
    rows.push_back({stepped_logits(random, kVocab)});
    rows.push_back({stepped_logits(random, kVocab)});
    rows.back().allowed = some_allowed(random, kVocab, 1 << turn);
  }
  // Ties around the edges of shares, and in the tails of vectors.
  for (const size_t first :
       {size_t{0}, size_t{65}, size_t{66}, size_t{111}, size_t{221}, size_t{222}})
    for (const size_t second : {first, first + 1, first + 111, kVocab - 1}) {
      if (second >= kVocab) continue;
      rows.push_back({normal_logits(random, kVocab, 1)});
      rows.back().logits[first] = rows.back().logits[second] = 9;
    }
  for (const OpTarget& target : llama_op_targets())
    for (const std::vector<size_t>& shares : shares_of(kVocab))
      expect_rows(target, shares, rows, /*gather=*/false, shares.size() == 3 ? 2 : 1);
}

std::vector<RowSampling> samplings(Random& random) {
  std::vector<RowSampling> list;
  for (const float temperature : {1.0F, 0.3F, 2.5F})
    for (const int32_t top_k : {0, 1, 7, 100, 100000})
      for (const float top_p : {1.0F, 0.9F, 0.3F, 1e-9F})
        list.push_back({temperature, top_k, top_p, -1, (uint64_t{random()} << 32) + random()});
  return list;
}

TEST(LlamaSample, DrawsAsTheReference) {
  for (const size_t vocab : {size_t{5}, size_t{64}, kVocab, size_t{3000}}) {
    Random random(static_cast<uint32_t>(vocab));
    std::vector<SampleRow> rows;
    for (const RowSampling& sampling : samplings(random))
      for (int kind = 0; kind < 4; ++kind) {
        SampleRow row;
        row.logits = kind == 1   ? stepped_logits(random, vocab)
                     : kind == 2 ? normal_logits(random, vocab, 0.01F)
                                 : normal_logits(random, vocab, 3);
        if (kind == 3) row.allowed = some_allowed(random, vocab, 3);
        row.sampling = sampling;
        row.position = static_cast<int32_t>(random() % 100000);
        rows.push_back(row);
      }
    const auto shares = shares_of(vocab);
    size_t turn = 0;
    for (const OpTarget& target : llama_op_targets())
      expect_rows(target, shares[turn++ % shares.size()], rows, /*gather=*/true);
  }
}

/// Rows that a model should not make, and edges of the formats.
std::vector<std::vector<float>> strange_rows(size_t n) {
  Random random(5);
  std::vector<std::vector<float>> rows;
  const auto changed = [&](float width, float value, size_t every) {
    std::vector<float> row = normal_logits(random, n, width);
    for (size_t i = 0; i < n; i += every) row[i] = value;
    rows.push_back(row);
  };
  for (const float all : {0.0F, -0.0F, 5.0F, FLT_MAX, -FLT_MAX, -kInfinite, kInfinite, kNan})
    rows.emplace_back(n, all);
  for (const float value : {-kInfinite, kNan, kInfinite, FLT_MAX, -FLT_MAX, 0.0F, 1e30F, 88.0F})
    for (const size_t every : {size_t{2}, n}) changed(3, value, every);
  changed(1e-42F, 0, 3);
  changed(1e37F, 0, 3);
  changed(1e-30F, -0.0F, 3);
  std::vector<float> alone(n, -kInfinite);
  alone[n - 2] = -1e30F;
  rows.push_back(alone);
  std::vector<float> next(n, 1);
  for (size_t i = 0; i < n; ++i) next[i] = std::nextafter(next[i == 0 ? 0 : i - 1], 2.0F);
  rows.push_back(next);
  return rows;
}

TEST(LlamaSample, StrangeRows) {
  std::vector<SampleRow> rows;
  for (const std::vector<float>& logits : strange_rows(kVocab))
    for (const RowSampling sampling :
         {RowSampling{0, 0, 1, -1, 1}, RowSampling{1, 0, 1, -1, 2}, RowSampling{0.7F, 9, 1, -1, 3},
          RowSampling{1, 0, 0.5F, -1, 4}, RowSampling{1, 2, 0.99F, -1, 5}})
      for (const int masked : {0, 1, 2}) {
        rows.push_back({logits, sampling, 3});
        if (masked == 1) rows.back().allowed.assign(kVocab, false);
        if (masked == 2) {
          rows.back().allowed.assign(kVocab, false);
          rows.back().allowed[kVocab - 1] = rows.back().allowed[17] = true;
        }
      }
  for (const OpTarget& target : llama_op_targets())
    expect_rows(target, shares_of(kVocab)[1], rows, /*gather=*/true);
}

TEST(LlamaSample, StrangeSamplings) {
  Random random(6);
  std::vector<SampleRow> rows;
  for (const float temperature : {1e-30F, 1e-42F, 1e-3F, 1e30F, kInfinite, kNan, -1.0F})
    for (const float top_p : {0.0F, -1.0F, 0.5F, 2.0F, kNan})
      for (const int32_t top_k : {-3, 0, 4})
        rows.push_back(
            {stepped_logits(random, kVocab), {temperature, top_k, top_p, -1, random()}, -5});
  SampleRanks ranks({kVocab}, rows);
  ranks.run(llama_op_targets().front(), true);
  for (size_t i = 0; i < rows.size(); ++i) {
    const RowSampling& s = rows[i].sampling;
    const int32_t token = ranks.at(i).token;
    ASSERT_TRUE(token >= 0 && token < static_cast<int32_t>(kVocab)) << i;
    const auto most = static_cast<int32_t>(
        std::max_element(rows[i].logits.begin(), rows[i].logits.end()) - rows[i].logits.begin());
    // No temperature, or a share of nothing: the most probable. Very cold: one as probable.
    if (!(s.temperature > 0) || !(s.top_p > 0)) {
      EXPECT_EQ(token, most) << i;
    } else if (s.temperature < 1e-2F) {
      EXPECT_EQ(rows[i].logits[static_cast<size_t>(token)],
                rows[i].logits[static_cast<size_t>(most)]);
    }
  }
}

/// The sum over tokens of (drawn - expected)^2 / expected.
double chi_square(const std::vector<SampleRow>& rows, const OpTarget& target) {
  SampleRanks ranks({rows[0].logits.size()}, rows);
  ranks.run(target, true);
  std::vector<double> drawn(rows[0].logits.size(), 0);
  for (size_t i = 0; i < rows.size(); ++i) ++drawn[static_cast<size_t>(ranks.at(i).token)];
  std::vector<double> logits(rows[0].logits.begin(), rows[0].logits.end());
  const RowSampling& s = rows[0].sampling;
  double sum = 0, seen = 0;
  for (const Candidate& c : candidates(logits.data(), static_cast<int>(logits.size()),
                                       {s.temperature, s.top_k, s.top_p})) {
    const double expected = c.probability * static_cast<double>(rows.size());
    const double difference = drawn[static_cast<size_t>(c.token)] - expected;
    sum += difference * difference / expected;
    seen += drawn[static_cast<size_t>(c.token)];
  }
  EXPECT_EQ(seen, static_cast<double>(rows.size())) << "drawn what is no candidate";
  return sum;
}

TEST(LlamaSample, DrawsWithTheRightProbabilities) {
  Random random(8);
  const std::vector<float> logits = normal_logits(random, 24, 1);
  for (const RowSampling& sampling :
       {RowSampling{1, 0, 1, -1, 0}, RowSampling{0.6F, 15, 0.95F, -1, 0}})
    for (const bool by_position : {true, false}) {
      std::vector<SampleRow> rows(20000, {logits, sampling, 0, {}});
      for (size_t i = 0; i < rows.size(); ++i) {
        rows[i].sampling.seed = by_position ? 42 : i;
        rows[i].position = by_position ? static_cast<int32_t>(i) : 7;
      }
      // 23 degrees of freedom at most: 63 is passed once in 100000 times, and below 6 as seldom.
      const double sum = chi_square(rows, llama_op_targets().front());
      EXPECT_LT(sum, 63);
      EXPECT_GT(sum, 1);
    }
}

TEST(LlamaSample, TokensGoToTheirSlots) {
  Random random(9);
  std::vector<SampleRow> rows;
  for (const int32_t slot : {2, -1, 0, 4, 5, INT32_MIN, INT32_MAX}) {
    rows.push_back({normal_logits(random, kVocab, 2)});
    rows.back().sampling.slot = slot;
    rows.back().sampling.temperature = slot == 0 ? 1 : 0;
  }
  rows[3].allowed.assign(kVocab, false);
  SampleRanks ranks(shares_of(kVocab)[1], rows, 5);
  ranks.run(llama_op_targets().front(), true);
  const std::vector<int32_t> want = {ranks.at(2).token, -7, ranks.at(0).token, -7, -1};
  EXPECT_EQ(ranks.slots(), want);
}

TEST(LlamaSample, WithoutSamplingNothingIsChosen) {
  Random random(10);
  const std::vector<SampleRow> rows = {{normal_logits(random, kVocab, 2)}};
  TileWorld world({.ranks = 1, .bytes = 65536});
  int32_t token = -77;
  StepView step{};
  step.rows = step.logit_rows = 1;
  step.sampled = &token;
  ProgramRank own(world, 0);
  own.scratch_bytes = sample_scratch_bytes(kVocab);
  const LlamaSample args{&step, kVocab, 0, kVocab, {0, kVocab, TW_FP32}, {8192, 4, TW_FP32}, 64, 1};
  own.add(own.op(OpKind::kSampleLocal, args), {0, 1}, {}, 0);
  own.add(own.op(OpKind::kSample, args), {0, 1}, {0});
  own.launch(llama_op_targets().front().entry, 1, 1, false);
  EXPECT_EQ(world.failure(), TW_OK);
  EXPECT_EQ(token, -77);
}

/// A step samples into slots, the next one embeds what it finds there.
TEST(LlamaSample, TheNextStepEmbedsWhatWasSampled) {
  Random random(11);
  const std::vector<SampleRow> rows = {{normal_logits(random, kVocab, 2), {0, 0, 1, 1, 0}},
                                       {normal_logits(random, kVocab, 2), {1, 0, 1, 0, 5}}};
  for (const OpTarget& target : llama_op_targets()) {
    SampleRanks ranks({kVocab}, rows, 2);
    ranks.run(target, true);
    std::vector<int32_t> slots = ranks.slots();
    const std::vector<int32_t> tokens = {-2, -1};
    std::vector<float> table(kVocab);
    for (size_t t = 0; t < kVocab; ++t) table[t] = static_cast<float>(t);
    StepView step{};
    step.rows = step.embed_rows = 2;
    step.tokens = tokens.data();
    step.sampled_slots = slots.data();
    step.slot_count = 2;
    TileWorld world({.ranks = 1});
    ProgramRank own(world, 0);
    const uint32_t embed =
        own.op(OpKind::kEmbed,
               LlamaEmbed{&step, {table.data(), 1, TW_FP32}, 0, 1, {0, 1, TW_FP32}, 1, kVocab});
    own.add(embed, {0, 2});
    own.launch(target.entry, 1, 1, false);
    const auto* const x = reinterpret_cast<const float*>(own.data());
    EXPECT_EQ(static_cast<int32_t>(x[0]), ranks.at(0).token);
    EXPECT_EQ(static_cast<int32_t>(x[1]), ranks.at(1).token);
  }
}

}  // namespace
}  // namespace tw::test
