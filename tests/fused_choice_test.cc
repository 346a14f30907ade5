// How fused calls are carried out: lines of the table, what there is without lines, forcing.
#include "lib/coll/fused_choice.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/coll/choice.h"
#include "lib/coll/tuning_words.h"
#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

using Use = FusedForced::Use;
using Path = FusedForced::Path;

constexpr size_t kSmall = 4 << 10, kMiddle = 64 << 10, kLarge = 1 << 20;
static_assert(kMiddle < kOneShotBytes && kOneShotBytes < kLarge);

/// As in a tuning file, but not in the order of their bytes.
const std::vector<FusedLine> kLines = {
    TW_FUSED_LINE(gemm_all_reduce, two, 0, parts),
    TW_FUSED_LINE(gemm_all_reduce, two, kSmall, via_owner),
    TW_FUSED_LINE(gemm_all_reduce, two, kLarge, fused),
    TW_FUSED_LINE(gemm_all_reduce, two, kMiddle, parts),
    TW_FUSED_LINE(gemm_all_reduce, fits, kLarge, one_shot),
    TW_FUSED_LINE(gemm_reduce_scatter, two, kSmall, parts),
    TW_FUSED_LINE(gemm_reduce_scatter, two, 0, fused),
    TW_FUSED_LINE(all_reduce_residual_rms_norm, over, kSmall, one_shot),
    TW_FUSED_LINE(all_reduce_residual_rms_norm, over, 0, via_owner),
};

/// A choice in one word. Where it is by parts, the path means nothing.
enum Chosen { kParts, kOneShot, kViaOwner };
Chosen choose(const std::vector<FusedLine>& lines, CollOp op, RanksClass ranks, size_t bytes,
              Use use = Use::kAuto, Path path = Path::kAuto) {
  const FusedForced forced{use, path};
  const FusedChoice choice = choose_fused(lines, ranks, forced, op, bytes);
  if (choice.parts) return kParts;
  return choice.path == ReducePath::kOneShot ? kOneShot : kViaOwner;
}

std::string where(CollOp op, RanksClass ranks, size_t bytes) {
  return std::string(name_of(op)) + " " + name_of(ranks) + " " + std::to_string(bytes);
}

TEST(FusedChoice, LinesApplyByOpRanksAndBytes) {
  using namespace words;
  constexpr struct {
    CollOp op;
    RanksClass ranks;
    size_t bytes;
    Chosen want;
  } kRows[] = {
      {gemm_all_reduce, two, 0, kViaOwner},
      {gemm_all_reduce, two, kSmall - 1, kViaOwner},
      {gemm_all_reduce, two, kSmall, kViaOwner},
      {gemm_all_reduce, two, kSmall + 1, kParts},
      {gemm_all_reduce, two, kMiddle - 1, kParts},
      {gemm_all_reduce, two, kMiddle, kParts},
      {gemm_all_reduce, two, kMiddle + 1, kOneShot},  // fused: by the bytes
      {gemm_all_reduce, two, kOneShotBytes, kOneShot},
      {gemm_all_reduce, two, kOneShotBytes + 1, kViaOwner},
      {gemm_all_reduce, two, kLarge, kViaOwner},
      {gemm_all_reduce, two, kLarge + 1, kParts},
      {gemm_all_reduce, two, SIZE_MAX, kParts},
      {gemm_all_reduce, fits, 0, kOneShot},
      {gemm_all_reduce, fits, kLarge - 1, kOneShot},
      {gemm_all_reduce, fits, kLarge, kOneShot},
      {gemm_all_reduce, fits, kLarge + 1, kViaOwner},  // beyond the last line: as without any
      {gemm_all_reduce, over, kSmall, kOneShot},       // no line for this class
      {gemm_all_reduce, over, kLarge, kViaOwner},
      {gemm_reduce_scatter, two, kSmall, kParts},
      {gemm_reduce_scatter, fits, kSmall, kOneShot},
      {gemm_all_to_all, two, kSmall + 1, kOneShot},  // no line for this op
      {all_reduce_residual_rms_norm, two, kLarge, kViaOwner},
      {all_reduce_residual_rms_norm, over, kSmall, kOneShot},
      {all_reduce_residual_rms_norm, over, kSmall + 1, kViaOwner},
      {all_reduce_residual_rms_norm, over, SIZE_MAX, kViaOwner},
  };
  for (const auto& row : kRows)
    EXPECT_EQ(choose(kLines, row.op, row.ranks, row.bytes), row.want)
        << where(row.op, row.ranks, row.bytes);
}

constexpr CollOp kOps[] = {
#define TW_OP(value, name) value,
    TW_FUSED_MAP(TW_OP)
#undef TW_OP
};
constexpr RanksClass kClasses[] = {words::two, words::fits, words::over};

TEST(FusedChoice, WithoutLinesAllAreFused) {
  for (const CollOp op : kOps)
    for (const RanksClass ranks : kClasses)
      for (const auto& [bytes, want] : {std::pair<size_t, Chosen>{0, kOneShot},
                                        {kOneShotBytes - 1, kOneShot},
                                        {kOneShotBytes, kOneShot},
                                        {kOneShotBytes + 1, kViaOwner},
                                        {SIZE_MAX, kViaOwner}})
        EXPECT_EQ(choose({}, op, ranks, bytes), want) << where(op, ranks, bytes);
}

TEST(FusedChoice, ForcedUseWins) {
  for (const CollOp op : kOps)
    for (const RanksClass ranks : kClasses)
      for (const size_t bytes : {size_t{0}, kSmall, kMiddle, kLarge, kLarge + 1}) {
        const std::string at = where(op, ranks, bytes);
        const Chosen table = choose(kLines, op, ranks, bytes);
        const Chosen always = choose(kLines, op, ranks, bytes, Use::kAlways);
        const Chosen none = bytes <= kOneShotBytes ? kOneShot : kViaOwner;
        // Only what the table does by parts is changed: the path that it has is kept.
        EXPECT_EQ(always, table == kParts ? none : table) << at;
        for (const Path path : {Path::kAuto, Path::kOneShot, Path::kViaOwner})
          EXPECT_EQ(choose(kLines, op, ranks, bytes, Use::kNever, path), kParts) << at;
      }
}

TEST(FusedChoice, ForcedPathWinsAndLeavesPartsAlone) {
  for (const CollOp op : kOps)
    for (const RanksClass ranks : kClasses)
      for (const size_t bytes : {size_t{0}, kSmall, kMiddle, kLarge, kLarge + 1})
        for (const auto& [path, want] :
             {std::pair{Path::kOneShot, kOneShot}, {Path::kViaOwner, kViaOwner}}) {
          const std::string at = where(op, ranks, bytes);
          const bool parts = choose(kLines, op, ranks, bytes) == kParts;
          EXPECT_EQ(choose(kLines, op, ranks, bytes, Use::kAuto, path), parts ? kParts : want)
              << at;
          EXPECT_EQ(choose(kLines, op, ranks, bytes, Use::kAlways, path), want) << at;
        }
}

/// What make tune-accept brings in: lines of fused ops only, each once, and paths for ops that have
/// any.
TEST(FusedChoice, LinesOfMachinesMakeSense) {
  for (const Machine& machine : machines()) {
    std::set<std::tuple<CollOp, RanksClass, size_t>> seen;
    for (const FusedLine& line : machine.fused) {
      const std::string what =
          std::string(machine.name) + ": " + where(line.op, line.ranks, line.up_to);
      EXPECT_TRUE(is_fused(line.op)) << what;
      EXPECT_TRUE(seen.insert({line.op, line.ranks, line.up_to}).second) << what << " twice";
      if (line.op == kGemmAllReduce || line.op == kAllReduceResidualRmsNorm) continue;
      EXPECT_TRUE(line.how == FusedHow::kFused || line.how == FusedHow::kParts)
          << what << " has no path " << name_of(line.how);
    }
  }
}

TEST(FusedChoice, NamesAreTheWordsOfTheTables) {
  EXPECT_STREQ(name_of(words::fused), "fused");
  EXPECT_STREQ(name_of(words::one_shot), "one_shot");
  EXPECT_STREQ(name_of(words::via_owner), "via_owner");
  EXPECT_STREQ(name_of(words::parts), "parts");
}

TEST(FusedChoice, EnvironmentIsRead) {
  constexpr std::pair<const char*, Use> kUses[] = {
      {"", Use::kAuto}, {"auto", Use::kAuto}, {"always", Use::kAlways}, {"never", Use::kNever}};
  constexpr std::pair<const char*, Path> kPaths[] = {{"", Path::kAuto},
                                                     {"auto", Path::kAuto},
                                                     {"one_shot", Path::kOneShot},
                                                     {"via_owner", Path::kViaOwner}};
  std::set<std::string> agreements;
  for (const auto& [use_text, use] : kUses)
    for (const auto& [path_text, path] : kPaths) {
      const ScopedEnv set_use("TW_FUSED", use_text), set_path("TW_FUSED_PATH", path_text);
      const FusedForced forced = FusedForced::from_environment();
      EXPECT_EQ(forced.use, use) << use_text;
      EXPECT_EQ(forced.path, path) << path_text;
      // Ranks compare it: what is forced stands in it, as it is spelled.
      const auto spelled = [](const char* text) { return *text == '\0' ? "auto" : text; };
      EXPECT_EQ(forced.agreement(), std::string("TW_FUSED=") + spelled(use_text) +
                                        "\nTW_FUSED_PATH=" + spelled(path_text) + "\n");
      const std::string all = Forced::from_environment().agreement();
      EXPECT_NE(all.find(forced.agreement()), std::string::npos) << all;
    }
}

TEST(FusedChoice, OtherValuesAreRefused) {
  for (const auto& [name, value, valid] :
       {std::tuple{"TW_FUSED", "sometimes", "auto, always, never"},
        {"TW_FUSED", "one_shot", "auto, always, never"},
        {"TW_FUSED_PATH", "ring", "auto, one_shot, via_owner"},
        {"TW_FUSED_PATH", "ONE_SHOT", "auto, one_shot, via_owner"},
        {"TW_FUSED_PATH", "parts", "auto, one_shot, via_owner"}}) {
    const ScopedEnv set(name, value);
    const std::string want = std::string(name) + "=\"" + value + "\" is not one of " + valid;
    try {
      FusedForced::from_environment();
      ADD_FAILURE() << "accepted " << name << "=" << value;
    } catch (const Error& e) {
      EXPECT_EQ(e.status(), TW_ERROR_INVALID_ARGUMENT);
      EXPECT_NE(std::string(e.what()).find(want), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace tw::test
