#include "lib/coll/fused_args.h"

#include <algorithm>

#include "lib/base/round.h"
#include "lib/coll/gemm_grid.h"
#include "lib/device/kernels.h"

namespace tw {
namespace {

constexpr size_t kLine = 128;

/// Hands out parts of the workspace's data.
class Places {
 public:
  size_t add(size_t bytes) {
    const size_t at = end_;
    end_ += round_up(bytes, kLine);
    return at;
  }
  size_t end() const { return end_; }

 private:
  size_t end_ = 0;
};

/// `rows`: the most of a tile's that one slot gets. On GPUs a part of a tile lies in its slot where
/// it is in the tile.
PartialSlots partial_slots(const TileGrid& grid, size_t rows, size_t count, tw_type_t type,
                           const Place& place, Places& places) {
  PartialSlots slots{0, slot_bytes(grid, type, place.on_gpu ? SIZE_MAX : rows), count, type};
  slots.offset = places.add(slots.end(place.size));
  return slots;
}

GemmLaunch launch(const KernelImage& kernel, const AnyGemmArgs& args, const TileGrid& grid,
                  size_t slots, size_t data, bool peers_write = false) {
  return {&kernel, args, grid.tiles(), grid.rows.step, slots, data, 0, peers_write};
}

GemmLaunch gemm(const GemmCall& call, const Place& place, int blocks) {
  GemmArgs args{};
  args.grid = gemm_grid(call, {0, 1, place.on_gpu}, false, blocks);
  args.a = call.a;
  args.b = call.b;
  args.c = call.c;
  args.epilogue = call.epilogue;
  args.norm = row_norm(call);
  return launch(kernels::gemm, args, args.grid, call.norm_weight == nullptr ? 0 : args.grid.ids(),
                0);
}

/// The rows of each rank, in tiles of the grid if it is cut by rank.
Segments owned_rows(const GemmCall& call, const Place& place, const TileGrid& grid) {
  const RankSizes sizes = row_owners(call, place.size);
  return segments_of(sizes.data(), place.size, grid.rows.step);
}

GemmLaunch all_gather_gemm(const GemmCall& call, const Place& place, int blocks) {
  AllGatherGemmArgs args{};
  const size_t element = packed_element(call.type);
  const bool turned = call.a.layout == MatrixLayout::kCols;
  args.grid = gemm_grid(call, place, true, blocks);
  args.owners = owned_rows(call, place, args.grid);
  args.a = call.a;
  args.b = call.b;
  args.c = call.c;
  args.epilogue = call.epilogue;
  args.gathered_stride = round_up(turned ? call.m : call.k, kLine / element);
  args.all = call.a;
  args.all.rows = call.m;
  args.all.stride = args.gathered_stride;
  args.returned = {call.gathered, call.gathered_stride, call.type};
  Places places;
  args.gathered = places.add((turned ? call.k : call.m) * args.gathered_stride * element);
  return launch(kernels::all_gather_gemm, args, args.grid, args.owners.tiles() + size_t{1},
                places.end());
}

GemmLaunch gemm_reduce_scatter(const GemmCall& call, const Place& place, int blocks) {
  GemmReduceScatterArgs args{};
  args.grid = gemm_grid(call, place, true, blocks);
  args.owners = owned_rows(call, place, args.grid);
  args.a = call.a;
  args.b = call.b;
  args.c = call.c;
  args.epilogue = call.epilogue;
  args.epilogue.first_row = args.owners.begin[place.rank];
  Places places;
  const size_t count = most_owned_tiles(args.grid);
  args.partials = partial_slots(args.grid, largest(row_owners(call, place.size)), count,
                                call.partial_type, place, places);
  return launch(kernels::gemm_reduce_scatter, args, args.grid, count, places.end());
}

/// Where results for private memory arrive.
size_t staged(const GemmCall& call, ReducePath path, bool wanted, Places& places) {
  if (path == ReducePath::kOneShot || !wanted) return 0;
  return places.add(call.m * call.n * call.out_element());
}

GemmLaunch gemm_all_reduce(const GemmCall& call, const Place& place, ReducePath path, int blocks) {
  GemmAllReduceArgs args{};
  const bool by_owner = path == ReducePath::kViaOwner;
  args.grid = gemm_grid(call, place, by_owner, blocks);
  args.owners = owned_rows(call, place, args.grid);
  args.path = path;
  args.a = call.a;
  args.b = call.b;
  args.c = call.c;
  args.hidden = call.hidden;
  args.epilogue = call.epilogue;
  args.norm = row_norm(call);
  Places places;
  const size_t count = by_owner ? most_owned_tiles(args.grid) : args.grid.ids();
  const bool rows_have_owners = by_owner && args.grid.cols.count == 1;
  args.partials =
      partial_slots(args.grid, rows_have_owners ? largest(row_owners(call, place.size)) : call.m,
                    count, call.partial_type, place, places);
  args.staged_c = staged(call, path, true, places);
  args.staged_hidden = staged(call, path, call.hidden.data != nullptr, places);
  const size_t slots =
      size_t{2} * args.grid.ids() + (by_owner && call.norm_weight != nullptr ? call.m : 0);
  return launch(kernels::gemm_all_reduce, args, args.grid, slots, places.end(), by_owner);
}

GemmLaunch gemm_all_to_all(const GemmCall& call, const Place& place, int blocks) {
  GemmAllToAllArgs args{};
  args.grid = gemm_grid(call, place, true, blocks);
  args.a = call.a;
  args.b = call.b;
  args.c = call.c;
  args.epilogue = call.epilogue;
  Places places;
  const size_t most_cols = largest(call.cols);
  args.staged = places.add(call.m * most_cols * call.out_element());
  return launch(kernels::gemm_all_to_all, args, args.grid, args.grid.ids(), places.end(), true);
}

GemmLaunch all_reduce_norm(const GemmCall& call, const Place& place, ReducePath path, int blocks) {
  AllReduceNormArgs args{};
  const bool by_owner = path == ReducePath::kViaOwner;
  args.grid = row_grid(call.m, call.n, place, by_owner, blocks);
  args.path = path;
  args.input = {const_cast<void*>(call.a.data), call.a.stride, call.out_type};
  args.c = call.c;
  args.hidden = call.hidden;
  args.residual = call.epilogue.residual.data;
  args.residual_stride = call.epilogue.residual.stride;
  args.weight = call.norm_weight;
  args.eps = call.norm_eps;
  Places places;
  const size_t owned = by_owner ? nearly_equal(call.m, place.size)[0] : call.m;
  args.sender_bytes = round_up(owned * call.n * call.out_element(), kLine);
  args.partials = places.add(static_cast<size_t>(place.size) * args.sender_bytes);
  args.staged_c = staged(call, path, true, places);
  args.staged_hidden = staged(call, path, call.hidden.data != nullptr, places);
  const size_t slots = args.grid.rows.tiles() + (by_owner ? call.m : 0);
  return launch(kernels::all_reduce_residual_rms_norm, args, args.grid, slots, places.end(),
                by_owner);
}

}  // namespace

RowNorm row_norm(const GemmCall& call) {
  return {call.norm_weight, call.norm_eps, call.hidden.data != nullptr ? call.hidden : call.c,
          nullptr};
}

GemmLaunch gemm_launch(const GemmCall& call, const Place& place, ReducePath path, int blocks) {
  GemmLaunch result = [&] {
    switch (call.op) {
      case GemmOp::kAllGatherGemm:
        return all_gather_gemm(call, place, blocks);
      case GemmOp::kGemmReduceScatter:
        return gemm_reduce_scatter(call, place, blocks);
      case GemmOp::kGemmAllReduce:
        return gemm_all_reduce(call, place, path, blocks);
      case GemmOp::kGemmAllToAll:
        return gemm_all_to_all(call, place, blocks);
      case GemmOp::kAllReduceResidualRmsNorm:
        return all_reduce_norm(call, place, path, blocks);
      default:
        return gemm(call, place, blocks);
    }
  }();
  if (call.norm_weight != nullptr) result.row = call.n;
  return result;
}

GemmLaunch epilogue_launch(const GemmCall& call, const Matrix& input) {
  RowEpilogueArgs args{};
  args.m = call.c_rows;
  args.n = call.c_cols;
  args.input = input;
  args.c = call.c;
  args.epilogue = call.epilogue;
  args.norm = row_norm(call);
  GemmLaunch result{&kernels::row_epilogue, args, static_cast<uint32_t>(args.m), 1, 0, 0, 0, false};
  result.row = args.n;
  return result;
}

}  // namespace tw
