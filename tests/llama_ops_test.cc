// The ops of a Llama program around its products, on every target that runs here: embedding,
// places of K and V, gathering of rows. Against float64, over poisoned memory.

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "tests/support/program_ranks.h"
#include "tests/support/reference.h"
#include "tilewire/kernels/llama.h"

namespace tw::test {
namespace {

using Random = std::mt19937;
constexpr uint16_t kPoison = 0xabcd;

std::vector<uint16_t> random_bf16(Random& random, size_t n) {
  std::normal_distribution<float> normal(0, 2);
  std::vector<uint16_t> values(n);
  for (uint16_t& v : values) v = static_cast<uint16_t>(encode(TW_BF16, normal(random)));
  return values;
}
std::vector<float> random_fp32(Random& random, size_t n, float mean = 0) {
  std::normal_distribution<float> normal(mean, 1);
  std::vector<float> values(n);
  for (float& v : values) v = normal(random);
  return values;
}

// ---- Embedding, gathering ----

constexpr size_t kHidden = 37, kMostRows = 12, kStride = kHidden + 2;
constexpr int32_t kVocab = 50;
/// Columns of each rank.
const std::vector<std::vector<size_t>> kShares = {{37}, {20, 17}, {1, 30, 6}, {16, 0, 20, 1}};

/// Tokens as a step has them, and which rows of the table they are.
const std::vector<int32_t> kTokens = {0, kVocab - 1, kVocab, INT32_MAX, -1, -3, -5, INT32_MIN, 17};
const std::vector<int32_t> kSlots = {31, -1, 7, kVocab};
const std::vector<size_t> kMeant = {0, kVocab - 1, 0, 0, 31, 7, 0, 0, 17};
const std::vector<int32_t> kFromSlots = {-2, -4};  // no token there
const std::vector<uint32_t> kWanted = {8, 0, 3, 1000};

/// Ranks embed their columns for all (or for themselves only), then gather rows of what came.
class EmbedRanks {
 public:
  EmbedRanks(const EntryOfTarget& target, const std::vector<size_t>& shares, uint32_t embed_rows)
      : target_(target), shares_(shares), ranks_(static_cast<int>(shares.size())) {
    Random random(7);
    tables_.reserve(shares.size());
    for (const size_t cols : shares) tables_.push_back(random_bf16(random, kVocab * (cols + 3)));
    tokens_ = kTokens;
    tokens_.insert(tokens_.end(), kFromSlots.begin(), kFromSlots.end());
    step_.rows = static_cast<uint32_t>(tokens_.size());
    step_.embed_rows = embed_rows;
    step_.tokens = tokens_.data();
    step_.sampled_slots = slots_.data();
    step_.slot_count = static_cast<uint32_t>(slots_.size());
    step_.logit_rows = static_cast<uint32_t>(kWanted.size());
    step_.logit_row = kWanted.data();
  }

  void run(bool to_all, int blocks) {
    TileWorld world({.ranks = ranks_, .blocks = blocks, .bytes = kMostRows * kStride * 4});
    gathered_.assign(shares_.size(), std::vector<float>((kWanted.size() + 2) * kHidden, 1.5F));
    x_.resize(shares_.size());
    world.run([&](int rank) {
      const auto r = static_cast<size_t>(rank);
      ProgramRank own(world, rank);
      const uint32_t receivers = to_all ? (1U << ranks_) - 1 : 1U << rank;
      const uint32_t embed = own.op(LlamaKind::kEmbed, embed_args(r));
      const Matrix x{own.data(), kStride, TW_FP32}, g{gathered_[r].data(), kHidden, TW_FP32};
      const uint32_t gather = own.op(LlamaKind::kGather, LlamaGather{&step_, kHidden, x, g});
      for (uint32_t i = 0; i < kMostRows; i += 4) own.add(embed, {i, 4, receivers}, {}, 0);
      own.add(gather, {0, 2}, {0});
      own.add(gather, {2, 4}, {0});
      own.launch(target_.entry, 1, blocks, blocks > 1);
      const auto* const data = reinterpret_cast<const float*>(own.data());
      x_[r].assign(data, data + kMostRows * kStride);
    });
    ASSERT_EQ(world.failure(), TW_OK);
  }

  /// x of `at` is right in the columns of `from`, or was never written.
  void expect_columns(size_t at, size_t from, bool written) const {
    size_t first = 0;
    for (size_t r = 0; r < from; ++r) first += shares_[r];
    const std::vector<size_t> meant = all_meant();
    for (size_t i = 0; i < kMostRows; ++i)
      for (size_t j = 0; j < shares_[from]; ++j) {
        const float got = x_[at][i * kStride + first + j];
        if (!written || i >= step_.embed_rows) {
          EXPECT_EQ(bits(got), kUnwritten) << target_.name << ", row " << i;
          continue;
        }
        const uint16_t code = tables_[from][meant[i] * (shares_[from] + 3) + j];
        ASSERT_EQ(got, decode(TW_BF16, code)) << target_.name << ", row " << i << ", column " << j;
      }
  }
  void expect_gaps() const {
    for (const std::vector<float>& x : x_)
      for (size_t i = 0; i < kMostRows; ++i)
        for (size_t j = kHidden; j < kStride; ++j) EXPECT_EQ(bits(x[i * kStride + j]), kUnwritten);
  }
  void expect_gathered() const {
    for (size_t r = 0; r < x_.size(); ++r)
      for (size_t i = 0; i < kWanted.size() + 2; ++i)
        for (size_t j = 0; j < kHidden; ++j) {
          const size_t row = i < kWanted.size() && kWanted[i] < step_.rows ? kWanted[i] : 0;
          const float want = i < kWanted.size() ? x_[r][row * kStride + j] : 1.5F;
          ASSERT_EQ(bits(gathered_[r][i * kHidden + j]), bits(want))
              << target_.name << ", row " << i;
        }
  }

 private:
  static constexpr uint32_t kUnwritten = 0xffffffffU;  // as TileWorld poisons
  static uint32_t bits(float x) {
    uint32_t b;
    std::memcpy(&b, &x, sizeof b);
    return b;
  }
  static std::vector<size_t> all_meant() {
    std::vector<size_t> meant = kMeant;
    meant.resize(meant.size() + kFromSlots.size(), 0);
    return meant;
  }
  LlamaEmbed embed_args(size_t rank) const {
    size_t first = 0;
    for (size_t r = 0; r < rank; ++r) first += shares_[r];
    const size_t cols = shares_[rank];
    return {&step_,
            {const_cast<uint16_t*>(tables_[rank].data()), cols + 3, TW_BF16},
            first,
            cols,
            {0, kStride, TW_FP32},
            static_cast<uint32_t>(kVocab)};
  }

  const EntryOfTarget target_;
  const std::vector<size_t> shares_;
  const int ranks_;
  StepView step_{};
  std::vector<int32_t> tokens_, slots_ = kSlots;
  std::vector<std::vector<uint16_t>> tables_;
  std::vector<std::vector<float>> x_, gathered_;
};

TEST(LlamaOps, EmbedAndGather) {
  for (const EntryOfTarget& target : llama_targets())
    for (const std::vector<size_t>& shares : kShares)
      for (const bool to_all : {true, false}) {
        EmbedRanks ranks(target, shares, static_cast<uint32_t>(kTokens.size()));
        ranks.run(to_all, shares.size() == 2 ? 3 : 1);
        if (HasFatalFailure()) return;
        for (size_t at = 0; at < shares.size(); ++at)
          for (size_t from = 0; from < shares.size(); ++from)
            ranks.expect_columns(at, from, to_all || at == from);
        ranks.expect_gaps();
        ranks.expect_gathered();
      }
}

TEST(LlamaOps, EmbedTakesNoTokenForTheFirst) {
  EmbedRanks ranks(llama_targets().front(), kShares[0],
                   static_cast<uint32_t>(kTokens.size() + kFromSlots.size()));
  ranks.run(true, 1);
  ranks.expect_columns(0, 0, true);
}

TEST(LlamaOps, EmbedLeavesRowsThatComeFromElsewhere) {
  EmbedRanks ranks(llama_targets().front(), kShares[1], 0);
  ranks.run(true, 1);
  for (size_t at = 0; at < 2; ++at)
    for (size_t from = 0; from < 2; ++from) ranks.expect_columns(at, from, false);
}

// ---- Places of K and V ----

struct PlaceCase {
  uint32_t queries, kvs, head_size;
  bool norm, token_first;
};
constexpr PlaceCase kPlaceCases[] = {{3, 1, 8, false, false}, {2, 2, 64, true, false},
                                     {0, 1, 16, true, true},  {1, 0, 16, true, true},
                                     {5, 2, 18, false, true}, {9, 3, 64, false, true},
                                     {1, 1, 128, true, true}, {0, 0, 8, true, true},
                                     {2, 1, 2, true, false},  {1, 1, 50, true, false}};
constexpr size_t kPlaceRows = 7, kLiveRows = 5;
constexpr uint32_t kPageSize = 4, kPages = 3, kPositions = 40;
const std::vector<int64_t> kPlaceSlots = {5, -1, 11, kPages* kPageSize, 0};
const std::vector<int32_t> kPlacePositions = {39, 0, 13, 1, kPositions};
constexpr float kEps = 1e-3F;

class PlaceRank {
 public:
  PlaceRank(const EntryOfTarget& target, const PlaceCase& c, uint32_t seed)
      : target_(target), c_(c) {
    Random random(seed);
    qkv_ = random_bf16(random, kPlaceRows * stride());
    q_norm_ = random_fp32(random, c.head_size, 1);
    k_norm_ = random_fp32(random, c.head_size, 1);
    for (size_t i = 0; i < kPositions * c.head_size / 2; ++i) {
      const float angle = random_fp32(random, 1)[0];
      cosines_.push_back(std::cos(angle));
      sines_.push_back(std::sin(angle));
    }
    const size_t all = size_t{kPages} * kPageSize * c.kvs * c.head_size;
    k_.assign(all, kPoison);
    v_.assign(all, kPoison);
    layout_ = {
        TW_BF16, kPageSize, kPages, c.kvs, c.head_size, size_t{kPageSize} * c.kvs * c.head_size,
        0,       0};
    layout_.head = c.token_first ? c.head_size : size_t{kPageSize} * c.head_size;
    layout_.token = c.token_first ? size_t{c.kvs} * c.head_size : c.head_size;
  }

  void run() {
    std::vector<int64_t> slots = kPlaceSlots;
    std::vector<int32_t> positions = kPlacePositions;
    StepView step{};
    step.rows = kLiveRows;
    step.slots = slots.data();
    step.positions = positions.data();
    std::vector<uint16_t> qkv = qkv_, k = k_, v = v_;
    TileWorld world({.ranks = 1});
    ProgramRank own(world, 0);
    own.row = c_.head_size;
    const LlamaPlace args{&step,
                          {0, c_.queries, 0, c_.kvs, 1, c_.head_size},
                          {qkv.data(), stride(), TW_BF16},
                          c_.norm ? q_norm_.data() : nullptr,
                          c_.norm ? k_norm_.data() : nullptr,
                          kEps,
                          cosines_.data(),
                          sines_.data(),
                          layout_,
                          reinterpret_cast<char*>(k.data()),
                          reinterpret_cast<char*>(v.data()),
                          kPositions,
                          {&step.rows}};
    const uint32_t place = own.op(LlamaKind::kPlace, args);
    for (uint32_t i = 0; i < 9; i += 3) own.add(place, {i, 3});
    own.launch(target_.entry, 1, 1, false);
    check(qkv, k, v);
  }

 private:
  size_t stride() const { return size_t{c_.queries + 2 * c_.kvs} * c_.head_size + 1; }

  /// Head h of row i, normed and rotated.
  std::vector<double> turned(size_t i, size_t h, const std::vector<float>& norm) const {
    const size_t n = c_.head_size, half = n / 2;
    std::vector<double> x(n), y(n);
    double squares = 0;
    for (size_t j = 0; j < n; ++j) x[j] = decode(TW_BF16, qkv_[i * stride() + h * n + j]);
    for (const double v : x) squares += v * v;
    for (size_t j = 0; c_.norm && j < n; ++j)
      x[j] *= norm[j] / std::sqrt(squares / static_cast<double>(n) + kEps);
    const size_t angles =
        (kPlacePositions[i] < static_cast<int>(kPositions) ? static_cast<size_t>(kPlacePositions[i])
                                                           : 0) *
        half;
    for (size_t j = 0; j < half; ++j) {
      const double c = cosines_[angles + j], s = sines_[angles + j];
      y[j] = x[j] * c - x[half + j] * s;
      y[half + j] = x[half + j] * c + x[j] * s;
    }
    return y;
  }
  void expect_head(const uint16_t* got, const std::vector<double>& want, const char* what) const {
    for (size_t j = 0; j < want.size(); ++j)
      ASSERT_NEAR(decode(TW_BF16, got[j]), want[j], std::abs(want[j]) / 256 + 1e-5)
          << target_.name << ", " << what << " element " << j << " of " << c_.head_size;
  }

  void check(const std::vector<uint16_t>& qkv, std::vector<uint16_t> k,
             std::vector<uint16_t> v) const {
    std::vector<uint16_t> rest = qkv;
    const size_t n = c_.head_size;
    for (size_t i = 0; i < kLiveRows; ++i) {
      for (size_t h = 0; h < c_.queries; ++h) {
        const size_t at = i * stride() + h * n;
        expect_head(&qkv[at], turned(i, h, q_norm_), "q");
        std::copy_n(&qkv_[at], n, &rest[at]);
      }
      const int64_t slot = kPlaceSlots[i];
      if (slot < 0 || slot >= kPages * kPageSize) continue;
      for (size_t h = 0; h < c_.kvs; ++h) {
        const size_t at = static_cast<size_t>(slot) / kPageSize * layout_.page + h * layout_.head +
                          static_cast<size_t>(slot) % kPageSize * layout_.token;
        expect_head(&k[at], turned(i, c_.queries + h, k_norm_), "k");
        const uint16_t* const from = &qkv_[i * stride() + (c_.queries + c_.kvs + h) * n];
        for (size_t j = 0; j < n; ++j) EXPECT_EQ(v[at + j], from[j]) << target_.name;
        std::fill_n(&k[at], n, kPoison);
        std::fill_n(&v[at], n, kPoison);
      }
    }
    EXPECT_EQ(rest, qkv_) << target_.name << ": written beside q";
    EXPECT_EQ(k, k_) << target_.name << ": written beside places";
    EXPECT_EQ(v, v_) << target_.name << ": written beside places";
  }

  const EntryOfTarget target_;
  const PlaceCase c_;
  KvLayout layout_{};
  std::vector<uint16_t> qkv_, k_, v_;
  std::vector<float> q_norm_, k_norm_, cosines_, sines_;
};

TEST(LlamaOps, Place) {
  uint32_t seed = 1;
  for (const EntryOfTarget& target : llama_targets())
    for (const PlaceCase& c : kPlaceCases) PlaceRank(target, c, seed++).run();
}

}  // namespace
}  // namespace tw::test
