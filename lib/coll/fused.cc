#include "lib/coll/fused.h"

#include <algorithm>
#include <variant>

#include "lib/coll/collectives.h"
#include "lib/device/kernels.h"
#include "lib/device/pack.h"

namespace tw {
namespace {

/// Bytes of a matrix, from its first element to its last.
size_t extent(const Matrix& m, size_t rows, size_t cols) {
  return rows == 0 || cols == 0 ? 0 : ((rows - 1) * m.stride + cols) * m.element();
}

/// Gives arguments what the comm's memory has for them.
struct Complete {
  const tw_tile_view& view;
  float* rows;

  template <class Args>
  void operator()(Args& args) const {
    args.tiles = view;
    if constexpr (requires { args.norm; }) args.norm.rows = rows;
    if constexpr (requires { args.rows; }) args.rows = rows;
    if constexpr (requires { args.all; })
      args.all.data = view.parts[view.comm.rank] + view.layout.data + args.gathered;
  }
};

}  // namespace

Fused::Fused(Comm& comm, Collectives& collectives, const Forced& forced, RanksClass ranks,
             int most_blocks)
    : comm_(comm),
      collectives_(collectives),
      forced_(forced.fused),
      ranks_(ranks),
      most_blocks_(most_blocks),
      workspace_(comm) {}

size_t Fused::result_bytes(const GemmCall& call) {
  return call.m * call.n * packed_element(adds(call.op) ? call.partial_type : call.out_type);
}

FusedChoice Fused::choose(const GemmCall& call) const {
  return choose_fused(this_machine().fused, ranks_, forced_, coll_of(call.op), result_bytes(call));
}

size_t Fused::workspace(const GemmCall& call) const {
  const FusedChoice choice = choose(call);
  if (choice.parts) return 0;
  const GemmLaunch launch = gemm_launch(call, place(), choice.path, most_blocks_);
  return workspace_bytes(comm_.size(), launch.slots, launch.data);
}

GemmWork Fused::prepare(const GemmCall& call) {
  if (!is_fused(call.op))
    return prepare_local(gemm_launch(call, place(), ReducePath::kOneShot, comm_.max_blocks()),
                         call.max_blocks);
  const FusedChoice choice = choose(call);
  return choice.parts ? prepare_parts(call) : prepare_fused(call, choice.path);
}

int Fused::blocks_of(const GemmLaunch& launch, int max_blocks) const {
  const int most = comm_.max_blocks();
  const int blocks = max_blocks == 0 ? most : std::min(max_blocks, most);
  return static_cast<int>(std::clamp<uint32_t>(launch.tiles, 1, static_cast<uint32_t>(blocks)));
}

Workspace::Local Fused::local_need(const GemmLaunch& launch, int blocks, size_t k) const {
  return {blocks, scratch_bytes(launch.tile_rows, k, workspace_.capped()), launch.row};
}

CallRecord Fused::record_of(const GemmCall& call, uint64_t digest) const {
  return {collectives_.next_number(),
          static_cast<uint32_t>(coll_of(call.op)),
          static_cast<uint32_t>(call.type),
          TW_SUM,
          -1,
          0,
          collectives_.history_with(digest),
          3,
          {static_cast<uint32_t>(call.m), static_cast<uint32_t>(call.n),
           static_cast<uint32_t>(call.k), 0, 0}};
}

GemmWork Fused::prepare_fused(const GemmCall& call, ReducePath path) {
  GemmLaunch launch = gemm_launch(call, place(), path, most_blocks_);
  const uint64_t digest = gemm_digest(call, place()) ^ static_cast<uint64_t>(path);
  const CallRecord next = record_of(call, digest);
  // What a rank may need on its own is told alike too: by the most blocks.
  const Workspace::Local most = local_need(launch, most_blocks_, call.k);
  const int blocks = blocks_of(launch, call.max_blocks);
  workspace_.grow(workspace_bytes(comm_.size(), launch.slots, launch.data),
                  workspace_.local_bytes(most), &next);
  workspace_.make_local(local_need(launch, blocks, call.k));

  TileRecord record{coll_of(call.op), call.type, {next.part[0], next.part[1], next.part[2]}, 0, 0};
  const uint64_t number = collectives_.number(digest, &record);
  tw_tile_view view = workspace_.view(record);
  view.store = collectives_.table().choose(kAllReduce, result_bytes(call)).store;
  if (launch.peers_write) let_peers_write(call, &view);
  GemmWork result = work(&launch, view, blocks);
  result.number = number;
  return result;
}

void Fused::let_peers_write(const GemmCall& call, tw_tile_view* view) const {
  const Matrix* const results[] = {&call.c, &call.hidden};
  for (int i = 0; i < 2; ++i) {
    const Matrix& m = *results[i];
    view->out[i] = {comm_.locate(m.data, extent(m, call.c_rows, call.c_cols)), m.stride};
  }
}

GemmWork Fused::prepare_local(const GemmLaunch& local, int max_blocks) {
  GemmLaunch launch = local;
  const int blocks = blocks_of(launch, max_blocks);
  size_t k = 0;
  if (const GemmArgs* gemm = std::get_if<GemmArgs>(&launch.args)) k = gemm->a.cols;
  const Workspace::Local need = local_need(launch, blocks, k);
  workspace_.check_cap(workspace_.bytes() + workspace_.local_bytes(need));
  workspace_.make_local(need);
  const tw_tile_view view = workspace_.local_view(launch.slots);
  return work(&launch, view, blocks);
}

GemmWork Fused::work(GemmLaunch* launch, const tw_tile_view& view, int blocks) const {
  std::visit(Complete{view, workspace_.rows()}, launch->args);
  Device& device = comm_.device();
  const CpuEntry entry = launch->kernel->entry(device.target());
  return {[&device, entry, blocks, args = launch->args] {
            std::visit([&](const auto& a) { device.launch(entry, &a, blocks); }, args);
          },
          0};
}

GemmWork Fused::prepare_pack(const Operand& weights, void* packed) const {
  return {[weights, packed] { pack_weights(weights, packed); }, 0};
}

}  // namespace tw
