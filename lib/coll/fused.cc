#include "lib/coll/fused.h"

#include <algorithm>
#include <bit>
#include <variant>

#include "lib/base/error.h"
#include "lib/coll/collectives.h"
#include "lib/comm/control.h"
#include "lib/comm/records.h"
#include "lib/device/kernels.h"
#include "lib/device/pack.h"
#include "tilewire/kernels/pack.h"

namespace tw {
namespace {

/// Bytes of a matrix, from its first element to its last.
size_t extent(const Matrix& m, size_t rows, size_t cols) {
  return rows == 0 || cols == 0 ? 0 : ((rows - 1) * m.stride + cols) * m.element();
}

/// Of kernels of this rank alone: enough for most, so that it seldom grows.
constexpr size_t kLeastSlots = size_t{16} << 10;

/// Gives arguments what the comm's memory has for them.
struct Complete {
  const tw_tile_view& view;
  float* rows;
  char* own;  // of the workspace, at this rank

  template <class Args>
  void operator()(Args& args) const {
    args.tiles = view;
    if constexpr (requires { args.norm; }) args.norm.rows = rows;
    if constexpr (requires { args.rows; }) args.rows = rows;
    if constexpr (requires { args.all; }) args.all.data = own + view.layout.data + args.gathered;
  }
};

/// Gives an operand the map by which GPUs' loaders fetch it. `is_b`: K is its rows.
void set_map(Device& device, Operand& of, bool is_b, bool may_make) {
  if (of.layout != (is_b ? MatrixLayout::kCols : MatrixLayout::kRows)) return;
  const size_t lines = is_b ? of.cols : of.rows, k = is_b ? of.rows : of.cols;
  of.tensor_map = device.tensor_map(of.data, of.stride, lines, k, of.type, may_make);
}

template <class Args>
void set_maps(Device& device, Args& args, bool may_make) {
  if constexpr (requires { args.b; }) {
    set_map(device, args.a, false, may_make);
    set_map(device, args.b, true, may_make);
  }
  if constexpr (requires { args.all; }) set_map(device, args.all, false, may_make);
}

/// Blocks of the kernel that packs on GPUs: it is bound by memory.
constexpr size_t kPackBlocks = 256;

}  // namespace

void Fused::launch(const Kernel& kernel, AnyGemmArgs args, const tw_tile_view& view, float* rows,
                   int blocks, bool captured) const {
  Device& device = comm_.device();
  std::visit(
      [&](auto& a) {
        Complete{view, rows, workspace_.own()}(a);
        if (!device.is_host()) set_maps(device, a, !captured);
        device.launch(kernel, &a, blocks);
      },
      args);
}

Fused::Fused(Comm& comm, Collectives& collectives, const Forced& forced, RanksClass ranks,
             int most_blocks)
    : comm_(comm),
      collectives_(collectives),
      forced_(forced.fused),
      ranks_(ranks),
      most_blocks_(most_blocks),
      machine_(machine_of(comm.device())),
      workspace_(comm) {}

size_t Fused::result_bytes(const GemmCall& call) {
  return call.m * call.n * packed_element(adds(call.op) ? call.partial_type : call.out_type);
}

FusedChoice Fused::choose(const GemmCall& call) const {
  return choose_fused(machine_.fused, ranks_, forced_, coll_of(call.op), result_bytes(call));
}

size_t Fused::workspace(const GemmCall& call) const {
  const FusedChoice choice = choose(call);
  if (choice.parts) return 0;
  const GemmLaunch launch = gemm_launch(call, place(), choice.path, most_blocks_);
  return workspace_.rounded(workspace_bytes(comm_.size(), launch.slots, launch.data));
}

void Fused::reserve(size_t wanted) {
  const size_t bytes = workspace_.rounded(wanted);
  if (comm_.device().is_host()) comm_.device().drain();
  comm_.check();
  workspace_.plan(bytes, {});
  try {
    workspace_.grow(bytes, nullptr, std::nullopt);
  } catch (...) {
    workspace_.forget_plan();
    throw;
  }
}

GemmWork Fused::prepare(const GemmCall& call, tw_stream_t stream) {
  const bool on_host = comm_.device().is_host();
  if (!on_host) check_reach(call);
  stream_ = stream;
  queued_ = on_host && stream != nullptr;
  captured_ = !on_host && comm_.device().is_capturing(stream);
  if (!is_fused(call.op)) return prepare_local(call);
  const FusedChoice choice = choose(call);
  return choice.parts ? prepare_parts(call) : prepare_fused(call, choice.path);
}

void Fused::check_reach(const void* data, size_t bytes, const char* name) const {
  if (data != nullptr && bytes != 0 && comm_.locate(data, bytes) == 0)
    comm_.device().check_reach(data, name);
}

void Fused::check_reach(const GemmCall& call) const {
  const size_t out = call.out_element(), n = call.paired() ? 2 * call.n : call.n;
  const auto operand = [&](const Operand& of, const char* name) {
    check_reach(of.data, of.rows * of.cols * packed_element(of.type), name);
  };
  const auto result = [&](const Matrix& of, const char* name) {
    check_reach(of.data, extent(of, call.c_rows, call.c_cols), name);
  };
  operand(call.a, "args.a");
  if (call.op != GemmOp::kAllReduceResidualRmsNorm)
    operand(call.b, call.b.layout == MatrixLayout::kPacked ? "args.b_packed" : "args.b");
  result(call.c, "args.c");
  result(call.hidden, "args.hidden");
  result(call.epilogue.residual, "args.residual");
  check_reach(call.epilogue.bias, n * out, "args.bias");
  check_reach(call.norm_weight, call.n * out, "args.norm_weight");
  check_reach(call.gathered, call.m * call.k * packed_element(call.type), "args.gathered");
}

int Fused::blocks_of(const GemmLaunch& launch, int max_blocks) const {
  const int most = comm_.max_blocks();
  const int blocks = max_blocks == 0 ? most : std::min(max_blocks, most);
  return static_cast<int>(std::clamp<uint32_t>(launch.tiles, 1, static_cast<uint32_t>(blocks)));
}

LocalNeed Fused::need(const GemmLaunch& launch, int blocks, size_t k) const {
  const size_t scratch =
      comm_.device().is_host() ? scratch_bytes(launch.tile_rows, k, workspace_.capped()) : 0;
  return {blocks, scratch, launch.row, 0, {}};
}

LocalNeed Fused::need_alone(const GemmLaunch& launch, int blocks, size_t k) const {
  LocalNeed all = need(launch, blocks, k);
  all.slots = std::max(launch.slots, kLeastSlots);
  if (!comm_.device().is_host()) all.slots = std::bit_ceil(all.slots);
  return all;
}

uint64_t Fused::digest_of(const GemmCall& call) const {
  const uint64_t target = comm_.device().target_number();
  return gemm_digest(call, place()) ^ (target + 1) * UINT64_C(0x94D049BB133111EB);
}

FusedNote Fused::note_of(const GemmCall& call, FusedWay way) const {
  const auto cut = [](size_t size) { return static_cast<uint32_t>(size); };
  FusedNote note{};
  note.seq = comm_.calls().next();
  note.call = coll_of(call.op);
  note.type = static_cast<uint32_t>(call.type);
  note.size[0] = cut(call.m);
  note.size[1] = cut(call.n);
  note.size[2] = cut(call.k);
  note.out_type = static_cast<uint32_t>(call.out_type);
  note.partial_type = static_cast<uint32_t>(call.partial_type);
  note.activation = static_cast<uint32_t>(call.epilogue.activation);
  note.bias = call.epilogue.bias != nullptr;
  note.residual = compared_residual(call);
  note.norm_weight = call.norm_weight != nullptr;
  note.norm_eps = std::bit_cast<uint32_t>(call.norm_eps);
  note.hidden = call.hidden.data != nullptr;
  note.a_transposed = compared_transposed(call);
  note.way = static_cast<uint32_t>(way);
  note.target = comm_.device().target_number();
  std::transform(call.rows.begin(), call.rows.end(), note.rows, cut);
  std::transform(call.cols.begin(), call.cols.end(), note.cols, cut);
  return note;
}

CallRecord Fused::record_of(const GemmCall& call, uint64_t digest) const {
  return {comm_.calls().next(),
          static_cast<uint32_t>(coll_of(call.op)),
          static_cast<uint32_t>(call.type),
          TW_SUM,
          -1,
          0,
          comm_.calls().history_with(digest),
          3,
          {static_cast<uint32_t>(call.m), static_cast<uint32_t>(call.n),
           static_cast<uint32_t>(call.k), 0, 0}};
}

Fused::Memory Fused::memory_for(const Next& next) {
  if (captured_) workspace_.check_there(next.workspace, next.own);
  const bool grows = workspace_.plan(next.workspace, next.most);
  Local local;
  std::optional<Error> failure;
  try {
    local = workspace_.local(next.own);
  } catch (...) {
    failure = current_error();
  }
  if (grows && !next.queued) return grow_now(next, std::move(local), failure);
  if (failure) {
    comm_.end(failure->status(), text("rank %d: %s", comm_.rank(), failure->what()));
    comm_.check();
  }
  if (grows) comm_.control().expect();
  return {std::move(local), grows};
}

Fused::Memory Fused::grow_now(const Next& next, Local local, const std::optional<Error>& failure) {
  try {
    if (comm_.device().is_host()) comm_.device().drain();  // on GPUs the old one stays
    write_note(comm_, next.note);
    workspace_.grow(next.workspace, &next.record, failure);
  } catch (...) {
    workspace_.forget_plan();
    throw;
  }
  return {std::move(local), false};
}

/// The call has a number: what prevents it ends the comm.
void Fused::grow_queued(const Next& next) {
  const Control::ExpectedTurn turn(comm_.control());
  try {
    workspace_.grow(next.workspace, &next.record, std::nullopt);
  } catch (...) {
    const Error error = current_error();
    comm_.end(error.status(), error.what());
    throw Error(error);
  }
}

GemmWork Fused::prepare_fused(const GemmCall& call, ReducePath path) {
  const GemmLaunch launch = gemm_launch(call, place(), path, most_blocks_);
  const uint64_t digest = digest_of(call) ^ static_cast<uint64_t>(path);
  const int blocks = blocks_of(launch, call.max_blocks);
  const FusedWay way = path == ReducePath::kOneShot ? FusedWay::kOneShot : FusedWay::kViaOwner;
  const Next next{record_of(call, digest), note_of(call, way),
                  workspace_.rounded(workspace_bytes(comm_.size(), launch.slots, launch.data)),
                  need(launch, blocks, call.k),
                  // By the most blocks, whatever this rank was told.
                  need(launch, most_blocks_, call.k), queued_};
  Memory memory = memory_for(next);

  const uint32_t* const sizes = next.record.part;
  TileRecord record{coll_of(call.op), call.type, {sizes[0], sizes[1], sizes[2]}, 0, 0};
  const Kernel kernel = comm_.device().kernel(*launch.kernel);
  const uint64_t number = comm_.calls().take(digest, &record);
  const StorePolicy store = collectives_.table().choose(kAllReduce, result_bytes(call)).store;
  std::array<TileOut, 2> out{};
  if (launch.peers_write) let_peers_write(call, out.data());
  return {[this, next, memory = std::move(memory), record, store, out, kernel, blocks,
           captured = captured_, args = launch.args] {
            write_note(comm_, next.note);
            if (memory.grows) grow_queued(next);
            tw_tile_view view = workspace_.view(record, *memory.local);
            view.store = store;
            std::copy(out.begin(), out.end(), view.out);
            this->launch(kernel, args, view, memory.local->row(), blocks, captured);
          },
          number};
}

void Fused::let_peers_write(const GemmCall& call, TileOut* out) const {
  const Matrix* const results[] = {&call.c, &call.hidden};
  for (int i = 0; i < 2; ++i) {
    const Matrix& m = *results[i];
    out[i] = {comm_.locate(m.data, extent(m, call.c_rows, call.c_cols)), m.stride};
  }
}

GemmWork Fused::prepare_local(const GemmCall& call) {
  const GemmLaunch launch = gemm_launch(call, place(), ReducePath::kOneShot, comm_.max_blocks());
  const LocalNeed need = need_alone(launch, blocks_of(launch, call.max_blocks), call.k);
  if (captured_) workspace_.check_there(0, need);
  const Local memory = workspace_.local(need);
  GemmWork work;
  work.run = local_part(launch, call.max_blocks, memory);
  return work;
}

Fused::Part Fused::local_part(const GemmLaunch& launch, int max_blocks, const Local& memory) {
  const Kernel kernel = comm_.device().kernel(*launch.kernel);
  return [this, kernel, memory, blocks = blocks_of(launch, max_blocks), captured = captured_,
          args = launch.args] {
    this->launch(kernel, args, workspace_.local_view(*memory), memory->row(), blocks, captured);
  };
}

GemmWork Fused::prepare_pack(const Operand& weights, void* packed) const {
  Device& device = comm_.device();
  if (device.is_host()) return {[weights, packed] { pack_weights(weights, packed); }, 0};
  const size_t tiles =
      divide_up(weights.cols, kGpuTile.cols) * divide_up(weights.rows, gpu_packed_k(weights.type));
  const int blocks = static_cast<int>(std::clamp<size_t>(tiles, 1, kPackBlocks));
  const PackWeightsArgs args{comm_.view(), weights, static_cast<char*>(packed)};
  return {[&device, kernel = device.kernel(kernels::pack_weights), args, blocks] {
            device.launch(kernel, &args, blocks);
          },
          0};
}

}  // namespace tw
