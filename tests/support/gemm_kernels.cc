#include "tests/support/gemm_kernels.h"

#include <algorithm>
#include <cstring>

#include "lib/device/kernels.h"
#include "tests/support/amx_emulated.h"
#include "tests/support/number_lines.h"
#include "tilewire/tile/packed.h"

namespace tw::test {
namespace {

constexpr size_t kAlign = 64;

size_t element_of(tw_type_t type) { return type == TW_FP32 ? 4 : 2; }
size_t up(size_t size, size_t unit) { return divide_up(size, unit) * unit; }
int next(int rank, int ranks) { return (rank + 1) % ranks; }

Segments segments(const std::vector<size_t>& sizes, uint32_t step) {
  return segments_of(sizes.data(), static_cast<int>(sizes.size()), step);
}

/// Most tiles of an owner.
uint32_t most_tiles(const Segments& segments) {
  uint32_t most = 0;
  for (int r = 0; r < segments.count; ++r)
    most = std::max(most, segments.tile[r + 1] - segments.tile[r]);
  return most;
}

/// Where element (k, j) of weights of `rows` rows lies.
size_t packed_place(PackedFor device, tw_type_t type, size_t rows, size_t k, size_t j) {
  if (device == PackedFor::kGpu) {
    const size_t chunk = 16 / element_of(type), line = 8 * chunk;  // elements of K
    const size_t tile = j / 128 * divide_up(rows, line) + k / line, q = k % line / chunk;
    return kPackedHeader + tile * kGpuPackedTile + j % 128 * 128 + (q ^ j % 8) * 16 +
           k % chunk * element_of(type);
  }
  const size_t pair = type == TW_BF16 ? 2 : 1;  // of k, side by side in a column
  const size_t tile = k / 32 * 2 + j % 32 / 16;
  const size_t at = tile * 32 * 16 + (k % 32 / pair * 16 + j % 16) * pair + k % pair;
  return kPackedHeader + j / 32 * panel_bytes(rows, type) + at * element_of(type);
}

}  // namespace

std::vector<KernelTarget> kernel_targets() {
  const KernelImage* const images[kGemmKernels] = {&kernels::gemm,
                                                   &kernels::all_gather_gemm,
                                                   &kernels::gemm_reduce_scatter,
                                                   &kernels::gemm_all_reduce,
                                                   &kernels::gemm_all_to_all,
                                                   &kernels::all_reduce_residual_rms_norm,
                                                   &kernels::row_epilogue};
  std::vector<KernelTarget> targets;
  for (int t = 0; t < kCpuTargets; ++t) {
    if (images[0]->cpu[t] == nullptr || !cpu_runs(static_cast<CpuTarget>(t))) continue;
    targets.push_back({cpu_target_name(static_cast<CpuTarget>(t)), {}});
    for (int op = 0; op < kGemmKernels; ++op) targets.back().entry[op] = images[op]->cpu[t];
  }
  return targets;
}

KernelTarget emulated_amx() {
  namespace emulated = cpu_amx_emulated;
  return {
      "cpu_amx_emulated",
      {emulated::gemm_entry, emulated::all_gather_gemm_entry, emulated::gemm_reduce_scatter_entry,
       emulated::gemm_all_reduce_entry, emulated::gemm_all_to_all_entry,
       emulated::all_reduce_residual_rms_norm_entry, emulated::row_epilogue_entry}};
}

std::string GemmRun::name() const {
  return std::to_string(blocks) + (threads ? " blocks on threads, " : " blocks, ") +
         std::to_string(tile_rows) + "x" + std::to_string(tile_cols) + " tiles, " +
         (raster == Raster::kRowsOuter ? "rows" : "columns") + " outer, " +
         (store == StorePolicy::kPlain ? "plain, " : "non-temporal, ") +
         (path == ReducePath::kOneShot ? "one shot"
          : own_cols                   ? "via columns' owner"
                                       : "via owner") +
         (whole_rows ? ", rows whole" : "");
}

std::vector<char> packed_weights(PackedFor device, const Values& b, tw_type_t type) {
  std::vector<char> packed(packed_bytes(device, b.rows, b.cols, type), 0);
  const PackedHeader header{kPackedMagic, kPackedVersion, device, static_cast<uint32_t>(type), 0,
                            b.rows,       b.cols};
  std::memcpy(packed.data(), &header, sizeof header);
  const size_t element = element_of(type);
  std::vector<char> row(b.cols * element);
  for (size_t k = 0; k < b.rows && b.cols != 0; ++k) {
    write_line(type, row.data(), b.data.data() + k * b.cols, b.cols);
    for (size_t j = 0; j < b.cols; ++j)
      std::memcpy(packed.data() + packed_place(device, type, b.rows, k, j),
                  row.data() + j * element, element);
  }
  return packed;
}

GemmRank::GemmRank(TileWorld& world, const GemmCase& c, const GemmRun& run, int rank)
    : GemmMemory(c, is_local(c.op) ? 0 : rank, is_local(c.op) ? 1 : world.ranks(),
                 in_window(c.placing, rank) ? world.window(rank) : nullptr, run.window_offset),
      world_(world),
      run_(run),
      world_rank_(rank),
      norm_rows_(static_cast<size_t>(run.blocks) * c.n + 1) {
  if (run.window_offset + window_bytes_of(c) > world.window_bytes()) std::abort();
  if (c.norm && !c.hidden) spare_hidden_ = Placed(c.m, c.n, c.out, false, nullptr, nullptr);
}

void GemmRank::prepare(const GemmWork& work, uint64_t history) {
  write(work);
  if (!spare_hidden_.none()) spare_hidden_.poison();
  if (c_.b_packed) {
    const std::vector<char> packed = packed_weights(run_.packed_for, part(work).b, c_.type);
    packed_memory_.resize(packed.size() + kAlign);
    packed_ = packed_memory_.data() +
              (kAlign - reinterpret_cast<uintptr_t>(packed_memory_.data()) % kAlign);
    std::copy(packed.begin(), packed.end(), packed_);
  }
  tw_tile_view view = world_.view(world_rank_, history, run_.store);
  if (is_local(c_.op)) {
    view.comm.size = 1;
    view.comm.rank = 0;
    view.parts += world_rank_;
    view.comm.heaps += world_rank_;
  }
  for (int i = 0; in_window(c_.placing, world_rank_) && i < 2; ++i) {
    const Placed& to = i == 0 ? c_out_ : hidden_;
    if (!to.none()) view.out[i] = {world_.window_at(world_rank_, to.window_offset()), to.stride()};
  }
  fill(view);
}

TileGrid GemmRank::grid() const {
  const GemmOp op = c_.op;
  const bool all_reduce = op == GemmOp::kGemmAllReduce || op == GemmOp::kAllReduceNorm;
  const bool one_shot = all_reduce && run_.path == ReducePath::kOneShot;
  const bool own_cols = op == GemmOp::kGemmAllToAll ||
                        (op == GemmOp::kGemmAllReduce && !one_shot && run_.own_cols && !c_.norm);
  const bool can_share = op == GemmOp::kAllGatherGemm || op == GemmOp::kGemmReduceScatter ||
                         op == GemmOp::kGemmAllReduce;
  const bool own_rows = op != GemmOp::kGemm && !one_shot && (!own_cols || !all_reduce) &&
                        !(can_share && run_.whole_rows);
  const uint32_t width = op == GemmOp::kAllReduceNorm
                             ? static_cast<uint32_t>(std::max<size_t>(c_.n, 1))
                             : run_.tile_cols;
  TileGrid grid =
      tile_grid(own_rows ? segments(rows_, run_.tile_rows) : whole(c_.m, run_.tile_rows),
                own_cols ? segments(cols_, width) : whole(c_.n, width), run_.raster,
                c_.activation == Activation::kSwiGlu ? c_.n : 0);
  if (own_rows) grid.first_row_owner = op == GemmOp::kAllGatherGemm ? rank_ : next(rank_, ranks_);
  if (own_cols) grid.first_col_owner = next(rank_, ranks_);
  return grid;
}

Operand GemmRank::operand_a() const {
  const bool own_rows = c_.op == GemmOp::kAllGatherGemm || c_.op == GemmOp::kGemmAllToAll;
  const size_t rows = own_rows ? rows_[static_cast<size_t>(rank_)] : c_.m;
  return {a_.data(), a_.stride(), rows,
          c_.k,      c_.type,     c_.a_transposed ? MatrixLayout::kCols : MatrixLayout::kRows,
          nullptr};
}

Operand GemmRank::operand_b() const {
  if (c_.b_packed) return {packed_, 0, c_.k, c_.b_cols(), c_.type, MatrixLayout::kPacked, nullptr};
  return {b_.data(),   b_.stride(), c_.k,
          c_.b_cols(), c_.type,     c_.b_transposed ? MatrixLayout::kCols : MatrixLayout::kRows,
          nullptr};
}

Epilogue GemmRank::epilogue(size_t first_row) const {
  return {bias_.data(),
          c_.out,
          c_.activation,
          {residual_.data(), residual_.stride(), c_.out},
          first_row};
}

RowNorm GemmRank::norm() {
  if (!c_.norm) return {};
  return {weight_.data(), kNormEps, c_.hidden ? hidden_.matrix() : spare_hidden_.matrix(),
          norm_rows_.data()};
}

void GemmRank::fill(const tw_tile_view& view) {
  const TileGrid grid = this->grid();
  const Segments owners = segments(rows_, run_.tile_rows);
  const size_t out = element_of(c_.out), results = up(c_.m * c_.n * out, 128);
  const Matrix c = c_out_.matrix(), hidden = hidden_.matrix();
  // Slots of tiles with rows of several owners have room for one owner's, and no more.
  const size_t slot_rows =
      run_.whole_rows ? *std::max_element(rows_.begin(), rows_.end()) : run_.tile_rows;
  PartialSlots partials{0, slot_bytes(grid, c_.partial, slot_rows),
                        size_t{most_tiles(grid.rows)} * most_tiles(grid.cols), c_.partial};
  const size_t staged = up(partials.end(ranks_), 128);
  if (sums_ranks(c_.op) && staged + 2 * results > world_.bytes()) std::abort();
  switch (c_.op) {
    case GemmOp::kGemm:
      gemm_ = {view, grid, operand_a(), operand_b(), c, epilogue(0), norm()};
      break;
    case GemmOp::kAllGatherGemm: {
      const size_t stride = (c_.a_transposed ? c_.m : c_.k) + (c_.strided ? 3 : 0);
      Operand all = operand_a();
      all.data = view.parts[rank_] + view.layout.data;
      all.stride = stride;
      all.rows = c_.m;
      all_gather_ = {view,        grid, owners, operand_a(), operand_b(),       c,
                     epilogue(0), 0,    stride, all,         gathered_.matrix()};
      break;
    }
    case GemmOp::kGemmReduceScatter:
      reduce_scatter_ = {
          view, grid, owners, operand_a(), operand_b(), c, epilogue(owners.begin[rank_]), partials};
      break;
    case GemmOp::kGemmAllReduce:
      all_reduce_ = {view,   grid,        owners, run_.path, operand_a(), operand_b(),     c,
                     hidden, epilogue(0), norm(), partials,  staged,      staged + results};
      break;
    case GemmOp::kGemmAllToAll:
      all_to_all_ = {view, grid, operand_a(), operand_b(), c, epilogue(0), 0};
      break;
    case GemmOp::kAllReduceNorm: {
      const size_t most_rows =
          run_.path == ReducePath::kOneShot ? c_.m : *std::max_element(rows_.begin(), rows_.end());
      const size_t sender_bytes = up(most_rows * c_.n * out, 128);
      const size_t staged_c = sender_bytes * static_cast<size_t>(ranks_);
      if (staged_c + 2 * results > world_.bytes()) std::abort();
      all_reduce_norm_ = {view,
                          grid,
                          run_.path,
                          {a_.data(), a_.stride(), c_.out},
                          c,
                          hidden,
                          residual_.data(),
                          residual_.stride(),
                          weight_.data(),
                          kNormEps,
                          norm_rows_.data(),
                          0,
                          sender_bytes,
                          staged_c,
                          staged_c + results};
      break;
    }
    case GemmOp::kRowEpilogue:
      row_epilogue_ = {view, c_.m, c_.n, {a_.data(), a_.stride(), c_.type}, c, epilogue(0), norm()};
      row_epilogue_.norm.rows = norm_rows_.data();
      break;
  }
}

const void* GemmRank::args() const {
  switch (c_.op) {
    case GemmOp::kGemm:
      return &gemm_;
    case GemmOp::kAllGatherGemm:
      return &all_gather_;
    case GemmOp::kGemmReduceScatter:
      return &reduce_scatter_;
    case GemmOp::kGemmAllReduce:
      return &all_reduce_;
    case GemmOp::kGemmAllToAll:
      return &all_to_all_;
    case GemmOp::kAllReduceNorm:
      return &all_reduce_norm_;
    default:
      return &row_epilogue_;
  }
}

void GemmRank::launch(const KernelTarget& target) const {
  World::launch(target.entry[static_cast<int>(c_.op)], args(), run_.blocks, run_.threads);
}

TileWorldShape room_for(const std::vector<GemmCase>& cases, int ranks, const GemmRun& run) {
  TileWorldShape shape;
  shape.ranks = ranks;
  shape.blocks = run.blocks;
  shape.tile_rows = run.tile_rows;
  const size_t n = static_cast<size_t>(ranks);
  for (const GemmCase& c : cases) {
    const size_t most = divide_up(c.m, run.tile_rows) * divide_up(c.n, run.tile_cols);
    const size_t tiles = (divide_up(c.m, run.tile_rows) + n) * (divide_up(c.n, run.tile_cols) + n);
    shape.slots = std::max(shape.slots, 2 * tiles + c.m + 1);
    const size_t slots = n * most * run.tile_rows * up(run.tile_cols, kPanelCols) * 4;
    const size_t addends = n * (c.m * c.n * 4 + 128), staged = 2 * (c.m * c.n * 4 + 128);
    const size_t gathered = (c.m + 3) * (c.k + 3) * 4;
    shape.bytes = std::max(shape.bytes, std::max(slots + addends + staged, gathered) + 4096);
    shape.window_bytes = std::max(shape.window_bytes, window_bytes_of(c));
    shape.k = std::max(shape.k, c.k);
  }
  return shape;
}

}  // namespace tw::test
