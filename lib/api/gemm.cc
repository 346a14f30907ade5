// GEMM, alone and fused with communication: tilewire.h, "GEMM, and GEMM fused with communication".
#include <memory>
#include <utility>

#include "lib/api/group.h"
#include "lib/api/guard.h"
#include "lib/api/handles.h"
#include "lib/api/issue.h"
#include "lib/coll/collectives.h"
#include "lib/coll/fused.h"

namespace tw::api {
namespace {

constexpr size_t kPackedAlignment = 64;
constexpr size_t kMostWorkspace = size_t{1} << 40;

tw_gemm_args_t versioned_args(const tw_gemm_args_t* args, const char* function) {
  require(args, function, "args");
  return versioned(args, tw_gemm_args_t TW_GEMM_ARGS_INIT, "tw_gemm_args_t");
}

PackedFor packed_for_device(const Comm& comm) {
  return comm.device().is_host() ? PackedFor::kCpu : PackedFor::kGpu;
}

void run_local(Comm& comm, GemmWork work, tw_stream_t stream) {
  if (stream == nullptr && comm.device().idle()) {
    work.run();
    return comm.check();
  }
  comm.device().issue(
      stream,
      [&comm, run = std::move(work.run)] {
        comm.check();
        run();
        comm.check();
        return TW_OK;
      },
      &comm);
}

void run_numbered(Comm& comm, GemmWork work, tw_stream_t stream) {
  const uint64_t number = work.number;
  if (stream == nullptr && comm.device().idle()) {
    work.run();
    return comm.check_call(number);
  }
  issue_numbered(comm, stream, [&comm, number, run = std::move(work.run)] {
    comm.check();
    run();
    comm.check_call(number);
    return TW_OK;
  });
}

void fused(GemmOp op, const char* function, const tw_gemm_args_t* args, tw_comm_t handle,
           tw_stream_t stream) {
  group::refuse_call(function);
  const CommInUse use(handle);
  Comm& comm = *use;
  check_ready(comm, stream);
  Fused& calls = comm.collectives().fused();
  const GemmCall call = check_gemm(op, versioned_args(args, function), calls.place());
  run_numbered(comm, calls.prepare(call, stream), stream);
}

}  // namespace
}  // namespace tw::api

using namespace tw;       // NOLINT(google-build-using-namespace): entry points of this layer
using namespace tw::api;  // NOLINT(google-build-using-namespace): entry points of this layer

tw_status_t tw_packed_bytes(const tw_gemm_args_t* args, tw_comm_t comm, size_t* bytes) {
  return guard([&] {
    const auto pinned = pin(comm);
    require(bytes, "tw_packed_bytes", "bytes");
    const Operand b =
        check_weights(versioned_args(args, "tw_packed_bytes"), "tw_packed_bytes", false);
    *bytes = packed_bytes(packed_for_device(*pinned), b.rows, b.cols, b.type);
  });
}

tw_status_t tw_pack_weights(const tw_gemm_args_t* args, void* packed, size_t bytes, tw_comm_t comm,
                            tw_stream_t stream) {
  constexpr const char* kName = "tw_pack_weights";
  return guard([&] {
    const CommInUse use(comm);
    check_ready(*use, stream);
    const Operand b = check_weights(versioned_args(args, kName), kName, true);
    require(packed, kName, "packed");
    if (reinterpret_cast<uintptr_t>(packed) % kPackedAlignment != 0)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: packed = %p; valid: an address aligned to %zu bytes",
           kName, packed, kPackedAlignment);
    const size_t needed = packed_bytes(packed_for_device(*use), b.rows, b.cols, b.type);
    if (bytes < needed)
      fail(TW_ERROR_INVALID_ARGUMENT,
           "%s: bytes = %zu; valid: at least %zu, as tw_packed_bytes tells", kName, bytes, needed);
    const Fused& calls = (*use).collectives().fused();
    if (!(*use).device().is_host()) {
      calls.check_reach(b.data, b.rows * b.cols, "args.b");
      calls.check_reach(packed, needed, "packed");
    }
    run_local(*use, calls.prepare_pack(b, packed), stream);
  });
}

tw_status_t tw_gemm(const tw_gemm_args_t* args, tw_comm_t comm, tw_stream_t stream) {
  return guard([&] {
    const CommInUse use(comm);
    check_ready(*use, stream);
    Fused& calls = (*use).collectives().fused();
    const GemmCall call = check_gemm(GemmOp::kGemm, versioned_args(args, "tw_gemm"), calls.place());
    run_local(*use, calls.prepare(call, stream), stream);
  });
}

tw_status_t tw_all_gather_gemm(const tw_gemm_args_t* args, tw_comm_t comm, tw_stream_t stream) {
  return guard([&] { fused(GemmOp::kAllGatherGemm, "tw_all_gather_gemm", args, comm, stream); });
}

tw_status_t tw_gemm_reduce_scatter(const tw_gemm_args_t* args, tw_comm_t comm, tw_stream_t stream) {
  return guard(
      [&] { fused(GemmOp::kGemmReduceScatter, "tw_gemm_reduce_scatter", args, comm, stream); });
}

tw_status_t tw_gemm_all_reduce(const tw_gemm_args_t* args, tw_comm_t comm, tw_stream_t stream) {
  return guard([&] { fused(GemmOp::kGemmAllReduce, "tw_gemm_all_reduce", args, comm, stream); });
}

tw_status_t tw_gemm_all_to_all(const tw_gemm_args_t* args, tw_comm_t comm, tw_stream_t stream) {
  return guard([&] { fused(GemmOp::kGemmAllToAll, "tw_gemm_all_to_all", args, comm, stream); });
}

tw_status_t tw_all_reduce_residual_rms_norm(const tw_gemm_args_t* args, tw_comm_t comm,
                                            tw_stream_t stream) {
  return guard([&] {
    fused(GemmOp::kAllReduceResidualRmsNorm, "tw_all_reduce_residual_rms_norm", args, comm, stream);
  });
}

tw_status_t tw_fused_workspace(tw_fused_op_t op, const tw_gemm_args_t* args, tw_comm_t comm,
                               size_t* bytes) {
  constexpr const char* kName = "tw_fused_workspace";
  return guard([&] {
    const CommInUse use(comm);
    require(bytes, kName, "bytes");
    require_range(static_cast<int>(op), TW_ALL_GATHER_GEMM, TW_ALL_REDUCE_RESIDUAL_RMS_NORM, kName,
                  "op");
    Fused& calls = (*use).collectives().fused();
    *bytes = calls.workspace(check_gemm(static_cast<GemmOp>(op), versioned_args(args, kName),
                                        calls.place(), /*with_data=*/false));
  });
}

tw_status_t tw_workspace_reserve(tw_comm_t comm, size_t bytes) {
  return guard([&] {
    const CommInUse use(comm);
    check_ready(*use, nullptr);
    if (bytes > kMostWorkspace)
      fail(TW_ERROR_INVALID_ARGUMENT, "tw_workspace_reserve: bytes = %zu; valid: 0 to %zu", bytes,
           kMostWorkspace);
    (*use).collectives().fused().reserve(bytes);
  });
}
