// Argument structs of the collective kernels (kernels/coll/*.cu), shared by host, kernel and test.
#pragma once

#include "tilewire.h"
#include "tilewire/tile/comm_view.h"

namespace tw {

/// What a call is, as recorded and compared between ranks: the plain collectives (kernels/coll),
/// those fused with a GEMM or a norm (kernels/{gemm,norm}), and launches of programs.
#define TW_COLL_MAP(X)                 \
  X(kAllReduce, all_reduce)            \
  X(kReduce, reduce)                   \
  X(kBroadcast, broadcast)             \
  X(kAllGather, all_gather)            \
  X(kReduceScatter, reduce_scatter)    \
  X(kAllToAll, all_to_all)             \
  X(kGather, gather)                   \
  X(kScatter, scatter)                 \
  X(kAllGatherV, all_gather_v)         \
  X(kReduceScatterV, reduce_scatter_v) \
  X(kAllToAllV, all_to_all_v)          \
  X(kBarrier, barrier)
#define TW_FUSED_MAP(X)                      \
  X(kAllGatherGemm, all_gather_gemm)         \
  X(kGemmReduceScatter, gemm_reduce_scatter) \
  X(kGemmAllReduce, gemm_all_reduce)         \
  X(kGemmAllToAll, gemm_all_to_all)          \
  X(kAllReduceResidualRmsNorm, all_reduce_residual_rms_norm)
#define TW_PROGRAM_MAP(X)           \
  X(kProgramLaunch, program_launch) \
  X(kModelStep, model_step)

enum CollOp : uint32_t {
#define TW_COLL_ENUM(value, name) value,
  TW_COLL_MAP(TW_COLL_ENUM) TW_FUSED_MAP(TW_COLL_ENUM) TW_PROGRAM_MAP(TW_COLL_ENUM)
#undef TW_COLL_ENUM
      kCollOps,
  kNoCall = UINT32_MAX
};
/// The plain collectives are below it.
inline constexpr uint32_t kCollectives = kAllGatherGemm;

constexpr bool is_fused(CollOp op) { return op >= kCollectives && op < kProgramLaunch; }
constexpr bool is_program(CollOp op) { return op >= kProgramLaunch && op < kCollOps; }

constexpr bool reduces(CollOp op) {
  return op == kAllReduce || op == kReduce || op == kReduceScatter || op == kReduceScatterV;
}
constexpr bool has_root(CollOp op) {
  return op == kReduce || op == kBroadcast || op == kGather || op == kScatter;
}

/// How a collective moves its bytes. The choice table picks one by op, size, ranks and machine; it
/// never depends on one rank's pointers. Every algorithm gives the same bits.
enum class CollAlgo : uint32_t {
  kPacket,  // payload and epoch travel together into the peers' inboxes
  kSlot,    // whole message pushed into the peers' slots, then a flag
  kPull,    // whole message copied into own staging, peers read it there
  kDirect,  // locations are exchanged; windows are read and written in place; when a rank's buffer
            // is private all ranks go through staging instead
};

/// How bytes leave a CPU core: part of the machine's row.
enum class StorePolicy : uint32_t { kPlain, kNonTemporal };

/// Type and op of a reduction. `factor`: bits of one element of `type`; used when `scaled`.
struct Reduction {
  tw_type_t type;
  tw_op_t op;  // TW_SUM for scaled sums
  uint32_t scaled;
  uint64_t factor;
};

/// Arguments of every collective kernel. Counts are elements, per-rank arrays have comm.size
/// entries.
struct CollArgs {
  CommView comm;
  CollOp call;
  CollAlgo algo;
  StorePolicy store;
  Reduction reduction;  // `type` is set for all ops
  uint16_t digest;      // the upper bits of `history`, for signals
  uint64_t history;     // digest of this call and of all before it
  int root;             // -1 = none
  size_t count;         // elements, as in the C API's call
  size_t element;       // bytes of one element
  size_t chunk;         // bytes of a pipeline step (staging, chunked slots)
  const void* send;
  void* recv;
  uint64_t send_at;  // location of `send`, 0 = private
  uint64_t recv_at;
  // Uneven forms; null otherwise. Elements. displs null: packed in rank order.
  //   all_gather_v: recv_*; reduce_scatter_v: send_* (how `send` is cut); all_to_all_v: all four,
  //   with kDirect only, since no rank knows all counts.
  const size_t* send_counts;
  const size_t* send_displs;
  const size_t* recv_counts;
  const size_t* recv_displs;
};
static_assert(std::is_trivially_copyable_v<CollArgs>);

// ---- How staging is divided. Host and kernels call these, so that they agree. ----

/// Bytes of one of the two sets of a rank's staging.
constexpr size_t staging_set_bytes(const CommLayout& layout, size_t granule) {
  return layout.staging_bytes / 2 / granule * granule;
}

/// kPull with data of its own for each peer: bytes between them.
constexpr size_t pull_stride(const CommLayout& layout, size_t granule) {
  return staging_set_bytes(layout, granule) / static_cast<size_t>(layout.ranks) / granule * granule;
}

/// kDirect between private memories: a pipeline of rounds through kStagedDepth buffers, each of
/// them divided into lanes.
inline constexpr size_t kStagedDepth = 3;

constexpr size_t staged_lanes(const CommLayout& layout, CollOp call) {
  const size_t ranks = static_cast<size_t>(layout.ranks);
  if (reduces(call)) return ranks + 1;  // an input for each rank, and a result
  const bool same_for_all = call == kAllGather || call == kAllGatherV || call == kBroadcast;
  return same_for_all ? 1 : ranks;
}

/// Bytes of a lane of each of `blocks` blocks.
constexpr size_t staged_lane_bytes(const CommLayout& layout, size_t granule, CollOp call,
                                   int blocks) {
  return staging_set_bytes(layout, granule) /
         (kStagedDepth * staged_lanes(layout, call) * static_cast<size_t>(blocks)) / granule *
         granule;
}

/// Blocks for which a lane has at least one granule.
constexpr size_t staged_blocks(const CommLayout& layout, size_t granule, CollOp call) {
  return staging_set_bytes(layout, granule) / (kStagedDepth * staged_lanes(layout, call) * granule);
}

/// Bytes of the largest slice (what one rank sends to one peer; the whole message for all_reduce
/// and reduce) that a call can move by `algo`. The host picks no algorithm beyond its limit.
constexpr size_t message_limit(const CommLayout& layout, const Framing& framing, CollAlgo algo,
                               CollOp call) {
  const bool own_data_each = call == kAllToAll || call == kScatter || call == kReduceScatter ||
                             call == kAllToAllV || call == kReduceScatterV;
  switch (algo) {
    case CollAlgo::kPacket:
      return layout.packet_bytes / framing.packet_bytes * framing.packet_payload;
    case CollAlgo::kSlot:
      return layout.slot_bytes;
    case CollAlgo::kPull:
      return own_data_each ? pull_stride(layout, framing.granule)
                           : staging_set_bytes(layout, framing.granule);
    default:
      // Staged in rounds that signals can count. Blocks' lanes are whole granules, so that more
      // blocks may carry less together, but not less than half.
      return kMaxSteps / 2 * staged_lane_bytes(layout, framing.granule, call, 1) *
             (call == kAllReduce || call == kReduce ? static_cast<size_t>(layout.ranks) : 1);
  }
}

/// One transfer of a send/recv launch.
struct Transfer {
  int peer;
  bool is_send;
  void* data;   // const for sends
  uint64_t at;  // location, 0 = private
  size_t bytes;
  uint64_t digest;  // of type and count: must match the peer's
  uint64_t seq;     // number of this message between the two ranks, in this direction, for messages
  size_t progress;  // the kernel's: 0 at launch, kTransferDone in the end
};
inline constexpr size_t kTransferDone = ~size_t{0};

/// Transfers of one ordered pair of ranks match in list order. Only block 0 of a launch works. Does
/// not advance the comm's epoch.
struct SendRecvArgs {
  CommView comm;
  StorePolicy store;
  size_t window_from;  // bytes from which a sender's window is read in place
  Transfer* transfers;
  int n;
};
static_assert(std::is_trivially_copyable_v<SendRecvArgs>);

}  // namespace tw
