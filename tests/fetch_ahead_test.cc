// What a block fetches while it waits: each byte of the right operands to come, once and in order,
// up to a limit, beginning with the instruction that waits.
#include "tilewire/tile/fetch_ahead.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "tilewire/tile/program_ops.h"

namespace TW_NS {
namespace {

constexpr size_t kLimit = size_t{1} << 20;

/// Offsets and bytes of what was fetched.
class Recorder {
 public:
  explicit Recorder(const char* base) : base_(base) {}
  void fetch(const char* data, size_t bytes) {
    const auto at = static_cast<size_t>(data - base_);
    if (!ranges.empty() && ranges.back().first + ranges.back().second == at)
      ranges.back().second += bytes;
    else
      ranges.emplace_back(at, bytes);
    largest = bytes > largest ? bytes : largest;
  }
  std::vector<std::pair<size_t, size_t>> ranges;
  size_t largest = 0;

 private:
  const char* base_;
};

/// An instruction multiplies by at[0] bytes in part 0 and at[1] in part 1, from byte at[2], at[3].
PackedPart right_of(const ProgramArgs& args, const ProgramInstruction& instruction, int part) {
  return {args.arguments + instruction.at[2 + part], instruction.at[part]};
}

class FetchAheadTest : public testing::Test {
 protected:
  FetchAheadTest() : memory_(8 << 20), recorder_(memory_.data()) {}

  void program(const std::vector<ProgramInstruction>& list) {
    list_ = list;
    args_.list = list_.data();
    args_.count = static_cast<uint32_t>(list_.size());
    args_.arguments = memory_.data();
  }
  static ProgramInstruction product(uint32_t first, uint32_t bytes) {
    return {0, {bytes, 0, first, 0}, 0, 0, 0, 0};
  }
  static ProgramInstruction pair(uint32_t first, uint32_t second, uint32_t bytes) {
    return {0, {bytes, bytes, first, second}, 0, 0, 0, 0};
  }
  static ProgramInstruction rows() { return {}; }
  std::vector<std::pair<size_t, size_t>> all(FetchAhead& ahead, uint32_t now) {
    recorder_.ranges.clear();
    while (ahead.more(recorder_, args_, now)) continue;
    return recorder_.ranges;
  }

  using Ranges = std::vector<std::pair<size_t, size_t>>;
  std::vector<char> memory_;
  std::vector<ProgramInstruction> list_;
  ProgramArgs args_{};
  Recorder recorder_;
};

TEST_F(FetchAheadTest, TakesEachByteOnceFromTheWaitingInstructionOn) {
  program({product(0, 5000), rows(), pair(10000, 20000, 3001), rows(), product(40000, 100)});
  FetchAhead ahead(right_of, 1);
  EXPECT_EQ(all(ahead, 1), (Ranges{{10000, 3001}, {20000, 3001}, {40000, 100}}));
  EXPECT_EQ(all(ahead, 1), Ranges{});  // that was all there is
  EXPECT_LE(recorder_.largest, 4096u) << "between two looks";
}

TEST_F(FetchAheadTest, GoesOnWhereItWasInterrupted) {
  program({product(0, 5000), product(10000, 5000)});
  FetchAhead ahead(right_of, 1);
  ASSERT_TRUE(ahead.more(recorder_, args_, 0));
  ASSERT_EQ(recorder_.ranges.size(), 1u);
  const size_t first = recorder_.ranges[0].second;
  ASSERT_LT(first, 5000u);
  EXPECT_EQ(all(ahead, 0), (Ranges{{first, 5000 - first}, {10000, 5000}}));
}

TEST_F(FetchAheadTest, StopsAtALimitUntilThatHasBeenUsed) {
  const uint32_t most = 700 << 10;
  program({rows(), product(0, most), product(most, most), rows(), product(2 * most, most)});
  FetchAhead ahead(right_of, 1);
  EXPECT_EQ(all(ahead, 0), (Ranges{{0, kLimit}}));
  EXPECT_EQ(all(ahead, 1), Ranges{});
  EXPECT_EQ(all(ahead, 3), (Ranges{{2 * most, most}}));
}

TEST_F(FetchAheadTest, LeavesOtherBlocksTheirInstructions) {
  program({product(0, 100), product(1000, 100), product(2000, 100), product(3000, 100)});
  FetchAhead ahead(right_of, 2);
  EXPECT_EQ(all(ahead, 1), (Ranges{{1000, 100}, {3000, 100}}));
}

TEST(PackedColumns, AreThePanelsOfTheColumns) {
  constexpr size_t kK = 40, kN = 100;
  const std::vector<char> data(packed_bytes(PackedFor::kCpu, kK, kN, TW_BF16));
  const Operand b{data.data(), kN, kK, kN, TW_BF16, MatrixLayout::kPacked, nullptr};
  const char* const panels = data.data() + kPackedHeader;
  for (const auto& [col, cols] : {std::pair<size_t, size_t>{0, 1}, {31, 2}, {32, 64}, {50, 50}}) {
    const PackedPart part = packed_columns(b, col, cols);
    // The first and the last element of the first and of the last column.
    for (const size_t j : {col, col + cols - 1})
      for (const size_t k : {size_t{0}, kK - 1}) {
        const char* const at = panels + j / kPanelCols * panel_bytes(kK, TW_BF16) +
                               panel_place(k, j % kPanelCols, TW_BF16) * 2;
        EXPECT_GE(at, part.data) << col << " " << cols;
        EXPECT_LT(at, part.data + part.bytes) << col << " " << cols;
      }
    const size_t panels_read = (col + cols + kPanelCols - 1) / kPanelCols - col / kPanelCols;
    EXPECT_EQ(part.bytes, panels_read * panel_bytes(kK, TW_BF16));
  }
}

TEST(RightOfAProduct, IsWhatItsTileMultipliesBy) {
  constexpr size_t kK = 40, kCols = 96;  // of the result: in columns 0 .. 95 and 96 .. 191 of B
  const std::vector<char> data(packed_bytes(PackedFor::kCpu, kK, 2 * kCols, TW_BF16));
  uint32_t live = 3;
  ProgramGemm gemm{};
  gemm.live = {&live};
  gemm.b = {data.data(), 2 * kCols, kK, 2 * kCols, TW_BF16, MatrixLayout::kPacked, nullptr};
  gemm.grid = tile_grid(whole(5, 64), whole(kCols, 64), Raster::kRowsOuter, kCols);
  const uint32_t at[4] = {0, 1, 1, 0};
  const auto expect_part = [&](int part, size_t col, size_t cols) {
    const PackedPart is = GemmOp::right(gemm, at, part), want = packed_columns(gemm.b, col, cols);
    EXPECT_EQ(is.data, want.data) << part;
    EXPECT_EQ(is.bytes, want.bytes) << part;
  };
  expect_part(0, 64, 32);
  expect_part(1, kCols + 64, 32);
  gemm.grid = tile_grid(whole(5, 64), whole(kCols, 64), Raster::kRowsOuter, 0);
  expect_part(0, 64, 32);
  EXPECT_EQ(GemmOp::right(gemm, at, 1).bytes, 0u) << "one product";
  live = 0;
  EXPECT_EQ(GemmOp::right(gemm, at, 0).bytes, 0u) << "no rows in this launch";
  live = 3;
  gemm.b.data = nullptr;
  gemm.b.rows = 0;
  EXPECT_EQ(GemmOp::right(gemm, at, 0).data, nullptr) << "weights of no columns of A";
}

}  // namespace
}  // namespace TW_NS
