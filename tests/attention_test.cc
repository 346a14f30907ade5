// Paged attention as a program of its ops, on every CPU target that this machine runs and on
// cpu_amx over emulated tiles: against sums in fp64, and the rule that a row's bits depend on its
// query, its position and what it sees only.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "tests/support/attention_step.h"
#include "tilewire/tile/impl/cpu/tile_attention.h"

namespace tw::test {
namespace {

using Random = std::mt19937;
uint32_t below(Random& random, size_t n) { return static_cast<uint32_t>(random() % n); }
template <class T, size_t n>
T one_of(Random& random, const T (&of)[n]) {
  return of[below(random, n)];
}

std::vector<AttentionTarget> all_targets() {
  std::vector<AttentionTarget> all = attention_targets();
  all.push_back(emulated_attention());
  return all;
}
bool is_emulated(const AttentionTarget& target) { return target.name == "cpu_amx_emulated"; }

class EveryTarget : public testing::TestWithParam<AttentionTarget> {};

/// A share that may begin and end within a group.
AttentionModel random_model(Random& random) {
  AttentionModel model;
  model.head_size = one_of(random, {16u, 64u, 80u, 96u, 128u, 256u});
  model.group = one_of(random, {1u, 3u, 8u});
  model.first_query = below(random, 2 * model.group);
  model.queries = 1 + below(random, 2 * model.group);
  model.window = one_of(random, {0u, 0u, 1u, 5u, 64u, 100u, 600u});
  model.size = one_of(random, {1.0f, 4.0f, 64.0f});
  model.seed = random();
  return model;
}

/// Decoded rows whose keys end at edges of vectors, panels, pages, splits and beside them, runs of
/// prompts that begin anywhere, padding.
std::vector<AttentionRows> random_rows(Random& random, uint32_t sequences) {
  std::vector<AttentionRows> all;
  for (uint32_t s = 0; s < sequences; ++s) {
    const int32_t edge = one_of(random, {0, 1, 16, 31, 32, 48, 64, 255, 512, 768, 1024});
    const int32_t first = std::max(0, edge - 1 + static_cast<int32_t>(below(random, 3)));
    const uint32_t kind = below(random, 8);
    AttentionRows rows =
        rows_of(s, first, kind < 4 ? 1 : 1 + static_cast<int32_t>(below(random, 90)));
    if (kind == 5)  // with gaps
      for (size_t i = 0; i < rows.positions.size(); ++i)
        rows.positions[i] += static_cast<int32_t>(3 * i);
    if (kind == 6)
      for (size_t i = 0; i < 5; ++i)
        rows.positions.insert(rows.positions.begin() + below(random, rows.positions.size() + 1),
                              AttentionRows::kPadding);
    if (kind == 7) rows.positions.clear();
    all.push_back(rows);
  }
  return all;
}

AttentionRun random_run(Random& random) {
  AttentionRun run;
  run.page_size = one_of(random, {1u, 3u, 16u, 256u});
  run.instructions = one_of(random, {1u, 2u, 7u, 40u});
  run.merges = one_of(random, {1u, 3u});
  run.blocks = 1 + static_cast<int>(below(random, 3));
  run.threads = below(random, 2) == 0;
  run.tail = below(random, 3);
  return run;
}

TEST_P(EveryTarget, MatchesSumsInDouble) {
  const bool slow = is_emulated(GetParam());
  Random random(1);
  size_t cut = 0, whole = 0;
  for (int turn = 0; turn < (slow ? 8 : 60); ++turn) {
    const AttentionModel model = random_model(random);
    AttentionStep step(model, random_rows(random, slow ? 2 : 1 + below(random, 6)),
                       random_run(random));
    ASSERT_TRUE(step.compute(GetParam())) << step.name();
    ASSERT_EQ(step.plan().error.sequence, AttentionError::kNone);
    ASSERT_TRUE(step.matches_reference(GetParam(), 1 + below(random, 20)));
    ++(step.plan().merges == 0 ? whole : cut);
  }
  EXPECT_GT(cut, 2u);
  EXPECT_GT(whole, 2u);
}

/// Powers of scores as large as these are beyond fp32 unless the largest is taken away first.
TEST_P(EveryTarget, ScoresMayBeLarge) {
  AttentionModel model;
  model.size = 1024;
  model.queries = 2;
  AttentionStep step(model, {rows_of(0, 500, 20), {1, {600, 1100}}}, {});
  ASSERT_TRUE(step.compute(GetParam()));
  EXPECT_TRUE(step.matches_reference(GetParam()));
}

/// A split that none of an item's rows sees adds nothing, whole or in pieces.
TEST_P(EveryTarget, SplitsThatNobodySees) {
  AttentionModel model;
  model.window = 64;
  for (const uint32_t instructions : {1, 9}) {
    AttentionRun run;
    run.instructions = instructions;
    AttentionStep step(model, {{0, {5, 530, 560, 2100}}}, run);
    ASSERT_TRUE(step.compute(GetParam()));
    EXPECT_TRUE(step.matches_reference(GetParam())) << instructions << " instructions";
  }
}

/// Contents 0 and 1 in one step: a long prompt, decoded rows at edges.
std::vector<AttentionRows> some_rows() {
  return {rows_of(0, 0, 70), {1, {0, 30, 511, 512, 513, 1023, 1024, 1100}}, rows_of(0, 480, 60)};
}

/// Each of the results of `part` is among those of `all`, and the same.
void expect_same(const AttentionStep::Results& all, const AttentionStep::Results& part,
                 const std::string& what) {
  for (const auto& [line, codes] : part) {
    const auto same = all.find(line);
    ASSERT_NE(same, all.end());
    ASSERT_EQ(codes, same->second) << what << ", content " << std::get<0>(line) << ", position "
                                   << std::get<1>(line) << ", head " << std::get<2>(line);
  }
}

class Bits {
 public:
  Bits(const AttentionTarget& target, const AttentionModel& model)
      : target_(target), model_(model), all_(results(model, some_rows(), {})) {}

  void expect(const std::vector<AttentionRows>& rows, const AttentionRun& run, const char* what) {
    expect(model_, rows, run, what);
  }
  void expect(const AttentionModel& model, const std::vector<AttentionRows>& rows,
              const AttentionRun& run, const char* what) {
    expect_same(all_, results(model, rows, run), target_.name + ", " + what);
  }
  uint32_t merges() const { return merges_; }

 private:
  AttentionStep::Results results(const AttentionModel& model,
                                 const std::vector<AttentionRows>& rows, const AttentionRun& run) {
    AttentionStep step(model, rows, run);
    EXPECT_TRUE(step.compute(target_)) << step.name();
    merges_ = step.plan().merges;
    return step.results();
  }
  const AttentionTarget target_;
  const AttentionModel model_;
  const AttentionStep::Results all_;
  uint32_t merges_ = 0;
};

TEST_P(EveryTarget, BitsDependOnTheRowOnly) {
  const bool slow = is_emulated(GetParam());
  for (const uint32_t window : {0u, 90u, 700u}) {
    if (slow && window == 90) continue;
    AttentionModel model;
    model.head_size = window == 0 ? 64 : 80;
    model.group = 3;
    model.first_query = 1;
    model.queries = slow ? 3 : 7;
    model.window = window;
    Bits bits(GetParam(), model);
    AttentionRun run;
    for (const AttentionRows& rows : some_rows()) {
      bits.expect({rows}, run, "a sequence alone");
      for (size_t i = 0; i < rows.positions.size(); i += slow ? 40 : 7)
        bits.expect({{rows.content, {rows.positions[i]}}}, run, "a row alone");
      for (const size_t n : {5, 42, 43}) {
        if (n > rows.positions.size()) continue;
        const auto middle = rows.positions.begin() + static_cast<ptrdiff_t>(n);
        bits.expect({{rows.content, {rows.positions.begin(), middle}}}, run, "a first chunk");
        bits.expect({{rows.content, {middle, rows.positions.end()}}}, run, "a second chunk");
      }
    }
    for (const uint32_t page_size : {1, 3, 256}) {
      run.page_size = page_size;
      bits.expect(some_rows(), run, "other pages");
    }
    run = {};
    for (const uint32_t n : {2, 5, 64, 300}) {
      run.instructions = n;
      run.merges = n == 5 ? 1 : 3;
      bits.expect(some_rows(), run, "more instructions");
      if (n == 300 && window != 90) {
        EXPECT_GT(bits.merges(), 0u);
      }
      bits.expect({{1, {1100}}}, run, "splits apart");
      if (window != 90) {
        EXPECT_GT(bits.merges(), 0u);
      }
    }
    run.blocks = 4;
    run.threads = true;
    bits.expect(some_rows(), run, "blocks on threads");
    AttentionModel other = model;
    for (other.first_query = 1; other.first_query < 1 + model.queries; ++other.first_query) {
      other.queries = other.first_query % 2 + 1;
      if (other.first_query + other.queries > 1 + model.queries) break;
      bits.expect(other, some_rows(), {}, "another share of heads");
    }
    bits.expect({{0, {3, 4, 5}}, {0, {69}}, {1, {511}}, {0, {0, 1}}}, {}, "pages shared");
  }
}

/// Pieces are merged in the order of their splits: of so many sums, some would round otherwise in
/// another order.
TEST_P(EveryTarget, PiecesAreMergedInOrder) {
  AttentionModel model;
  model.head_size = 128;
  model.queries = model.group = 8;
  model.size = 1;
  std::vector<AttentionRows> rows;
  for (int32_t i = 0; i < (is_emulated(GetParam()) ? 4 : 60); ++i) rows.push_back({0, {1990 + i}});
  AttentionRun apart;
  apart.instructions = 300;
  AttentionStep whole(model, rows, {}), pieces(model, rows, apart);
  ASSERT_TRUE(whole.compute(GetParam()));
  ASSERT_TRUE(pieces.compute(GetParam()));
  EXPECT_EQ(whole.plan().merges, 0U);
  EXPECT_EQ(pieces.plan().merges, rows.size());
  expect_same(whole.results(), pieces.results(), GetParam().name);
}

INSTANTIATE_TEST_SUITE_P(Targets, EveryTarget, testing::ValuesIn(all_targets()),
                         [](const auto& target) { return target.param.name; });

// ---- The plan ----

TEST(AttentionPlan, SaysWhichPageIsNone) {
  AttentionModel model;
  const std::vector<AttentionRows> rows = {rows_of(0, 3, 2), rows_of(1, 40, 1), rows_of(2, 0, 5)};
  const auto refused = [&](auto change) {
    AttentionStep step(model, rows, {});
    change(step);
    EXPECT_TRUE(step.compute(attention_targets().front()));
    EXPECT_TRUE(step.untouched());
    EXPECT_EQ(step.plan().items, 0u);
    EXPECT_EQ(step.plan().merges, 0u);
    return std::pair{step.plan().error.sequence, step.plan().error.page};
  };
  using Error = std::pair<uint32_t, uint32_t>;
  constexpr uint32_t kRows = AttentionError::kRows;
  EXPECT_EQ(refused([](AttentionStep& s) { s.pages[s.page_begin[1] + 2] = 11; }), Error(1, 2));
  EXPECT_EQ(refused([](AttentionStep& s) { s.pages[0] = UINT32_MAX; }), Error(0, 0));
  EXPECT_EQ(refused([](AttentionStep& s) { s.positions[2] = 48; }), Error(1, 3));
  EXPECT_EQ(refused([](AttentionStep& s) { s.positions[7] = -1; }), Error(2, 1));
  EXPECT_EQ(refused([](AttentionStep& s) { s.query_begin[2] = 9; }), Error(1, kRows));
  EXPECT_EQ(refused([](AttentionStep& s) { s.query_begin[2] = 1; }), Error(1, kRows));
  AttentionStep right(model, rows, {});
  right.positions[2] = 47;
  EXPECT_TRUE(right.compute(attention_targets().front()));
  EXPECT_EQ(right.plan().error.sequence, AttentionError::kNone);
}

TEST(AttentionPlan, CutsWhatIsMoreThanItsShare) {
  AttentionModel model;
  model.queries = model.group = 2;
  const auto plan = [&](const std::vector<AttentionRows>& rows, uint32_t instructions) {
    AttentionRun run;
    run.instructions = instructions;
    AttentionStep step(model, rows, run);
    EXPECT_TRUE(step.compute(attention_targets().front()));
    return std::pair{step.plan().items, step.plan().merges};
  };
  using Count = std::pair<uint32_t, uint32_t>;
  EXPECT_EQ(plan({{0, {2047}}}, 1), Count(1, 0));
  EXPECT_EQ(plan({{0, {2047}}}, 8), Count(4, 1));
  EXPECT_EQ(plan({{0, {5}}, {1, {6}}}, 8), Count(2, 0));
  EXPECT_EQ(plan({{0, {2047}}, {1, {5}}, {2, {9}}}, 4), Count(6, 1));
  EXPECT_EQ(plan({rows_of(0, 0, 640)}, 2), Count(10, 0));
  EXPECT_EQ(plan({}, 2), Count(0, 0));
  model.queries = 0;
  EXPECT_EQ(plan({{0, {2047}}}, 8), Count(0, 0));
}

TEST(Attention, PowersOfTwo) {
  using namespace cpu_portable;
  for (int i = 0; i <= 4'000'000; ++i) {
    const float x = static_cast<float>(i) * -3.15e-5f;
    const double want = std::exp2(std::max(double{x}, -126.0));
    const float is = power_of_two(splat<Floats>(x))[0];
    ASSERT_NEAR(is, want, want * 2.5e-7) << x;
    ASSERT_LE(is, 1);
  }
  EXPECT_EQ(power_of_two(Floats{})[0], 1);
  EXPECT_EQ(power_of_two(splat<Floats>(-1e30f))[0], 0x1p-126f);
}

}  // namespace
}  // namespace tw::test
