// What the library asks of the workspace for a fused call: room for all that its kernel stores and
// signals there, each thing in a place of its own. A workspace is mostly larger than what one call
// needs, so that calls alone do not show it.
#include "lib/coll/fused_args.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <variant>
#include <vector>

#include "lib/comm/call_text.h"

namespace tw::test {
namespace {

/// Parts of the data that mean different things.
class Room {
 public:
  explicit Room(const GemmLaunch& launch) : launch_(launch) {}
  void data(size_t at, size_t bytes) {
    if (bytes != 0) parts_.push_back({at, at + bytes});
  }
  void slot(size_t slot) { EXPECT_LT(slot, launch_.slots); }
  void check() {
    std::sort(parts_.begin(), parts_.end(),
              [](const Part& a, const Part& b) { return a.begin < b.begin; });
    size_t end = 0;
    for (const Part& part : parts_) {
      EXPECT_GE(part.begin, end) << "overlaps what is before it";
      end = part.end;
    }
    EXPECT_LE(end, launch_.data);
  }

 private:
  struct Part {
    size_t begin, end;
  };
  const GemmLaunch& launch_;
  std::vector<Part> parts_;
};

/// What kernels store and signal at a rank: `self` stands for every one.
struct Uses {
  const GemmCall& call;
  int ranks, self;
  Room& room;

  size_t result() const { return call.m * call.n * call.out_element(); }
  /// `owners`: of rows; none where columns have owners, or nothing has.
  void partials(const PartialSlots& slots, const TileGrid& grid, const Segments* owners) const {
    const TilePart all = grid;
    for (uint32_t i = 0; i < all.tiles(); ++i) {
      const Tile tile = all.at(i);
      const RowPart own = owners != nullptr ? row_part(*owners, self, tile) : all_rows(tile);
      if (own.rows == 0 || (grid.cols.count > 1 && tile.col_owner != self)) continue;
      const size_t bytes =
          own.rows * divide_up(tile.cols, kPanelCols) * kPanelCols * packed_element(slots.type);
      EXPECT_LE(bytes, slots.bytes);
      for (int r = 0; r < ranks; ++r) room.data(slots.at(r, grid.number(tile)), slots.bytes);
    }
  }

  void operator()(const AllGatherGemmArgs& args) const {
    const bool turned = call.a.layout == MatrixLayout::kCols;
    const size_t lines = turned ? call.k : call.m, width = turned ? call.m : call.k;
    EXPECT_GE(args.gathered_stride, width);
    room.data(args.gathered, lines * args.gathered_stride * packed_element(call.type));
    room.slot(args.owners.tiles());
  }
  void operator()(const GemmReduceScatterArgs& args) const {
    partials(args.partials, args.grid, &args.owners);
    const TilePart all = args.grid;
    for (uint32_t i = 0; i < all.tiles(); ++i) room.slot(args.grid.number(all.at(i)));
  }
  void operator()(const GemmAllReduceArgs& args) const {
    const bool by_owner = args.path == ReducePath::kViaOwner;
    const bool rows_have_owners = by_owner && args.grid.cols.count == 1;
    partials(args.partials, args.grid, rows_have_owners ? &args.owners : nullptr);
    if (by_owner) room.data(args.staged_c, result());
    if (by_owner && call.hidden.data != nullptr) room.data(args.staged_hidden, result());
    const size_t ids = args.grid.ids();
    if (ids != 0) room.slot(2 * ids - 1);
    if (by_owner && call.norm_weight != nullptr && call.m != 0) room.slot(2 * ids + call.m - 1);
  }
  void operator()(const GemmAllToAllArgs& args) const {
    room.data(args.staged, call.m * call.cols[static_cast<size_t>(self)] * call.out_element());
    if (args.grid.ids() != 0) room.slot(args.grid.ids() - 1);
  }
  void operator()(const AllReduceNormArgs& args) const {
    const bool by_owner = args.path == ReducePath::kViaOwner;
    const size_t rows = by_owner ? args.grid.rows.size(self) : call.m;
    for (int r = 0; r < ranks; ++r)
      room.data(args.partials + static_cast<size_t>(r) * args.sender_bytes,
                rows * call.n * call.out_element());
    if (by_owner) room.data(args.staged_c, result());
    if (by_owner && call.hidden.data != nullptr) room.data(args.staged_hidden, result());
    const size_t tiles = args.grid.rows.tiles();
    if (tiles != 0) room.slot(tiles - 1);
    if (by_owner && call.m != 0) room.slot(tiles + call.m - 1);
  }
  template <class Local>
  void operator()(const Local& /*args*/) const {}
};

constexpr GemmOp kFusedOp[] = {GemmOp::kAllGatherGemm, GemmOp::kGemmReduceScatter,
                               GemmOp::kGemmAllReduce, GemmOp::kGemmAllToAll,
                               GemmOp::kAllReduceResidualRmsNorm};

class FusedArgs : public testing::TestWithParam<GemmOp> {};

/// `hidden`: with a norm where the op has one, and x beside it.
void expect_room(GemmOp op, size_t m, size_t n, size_t k, int ranks, bool hidden) {
  static float some;
  const bool adds_only = op == GemmOp::kAllReduceResidualRmsNorm;
  tw_gemm_args_t args = TW_GEMM_ARGS_INIT;
  args.m = m;
  args.n = n;
  args.type = args.out_type = TW_FP32;
  args.a = args.c = &some;
  if (!adds_only) {
    args.k = k;
    args.b = &some;
    args.a_transposed = hidden ? 1 : 0;
  }
  if (adds_only || (hidden && op == GemmOp::kGemmAllReduce)) {
    args.norm_weight = &some;
    args.hidden = hidden ? &some : nullptr;
  }
  for (int rank = 0; rank < ranks; ++rank)
    for (const ReducePath path : {ReducePath::kOneShot, ReducePath::kViaOwner})
      for (const int blocks : {1, 6}) {
        const GemmCall call = check_gemm(op, args, {rank, ranks}, /*with_data=*/false);
        const GemmLaunch launch = gemm_launch(call, {rank, ranks}, path, blocks);
        Room room(launch);
        std::visit(Uses{call, ranks, rank, room}, launch.args);
        room.check();
      }
}

TEST_P(FusedArgs, HaveRoomForAllThatKernelsStore) {
  constexpr size_t kSizes[][3] = {{0, 8, 8},      {1, 1, 1},      {5, 70, 300},
                                  {129, 200, 16}, {600, 1100, 8}, {2000, 8, 24}};
  for (const auto& [m, n, k] : kSizes)
    for (const int ranks : {1, 2, 3, 16})
      for (const bool hidden : {false, true}) {
        expect_room(GetParam(), m, n, k, ranks, hidden);
        ASSERT_FALSE(HasFailure()) << call_name(coll_of(GetParam())) << " " << m << " " << n << " "
                                   << k << ", " << ranks << " ranks" << (hidden ? ", hidden" : "");
      }
}

INSTANTIATE_TEST_SUITE_P(Ops, FusedArgs, testing::ValuesIn(kFusedOp), [](const auto& info) {
  return std::string(call_name(coll_of(info.param)));
});

}  // namespace
}  // namespace tw::test
