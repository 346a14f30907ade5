// GEMM calls of a comm: from a checked call to a launched kernel, or to its parts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "lib/coll/choice.h"
#include "lib/coll/fused_args.h"
#include "lib/coll/gemm_call.h"
#include "lib/coll/workspace.h"
#include "lib/comm/comm.h"

namespace tw {

class Collectives;

/// A call that is ready to run. Once it has a number it must be run, in the numbers' order.
struct GemmWork {
  std::function<void()> run;
  uint64_t number = 0;  // of the call on its comm; 0 = a local one
};

/// One rank's of one comm, used by one thread at a time.
class Fused {
 public:
  Fused(Comm& comm, Collectives& collectives, const Forced& forced, RanksClass ranks,
        int most_blocks);

  Place place() const { return {comm_.rank(), comm_.size(), !comm_.device().is_host()}; }

  /// Makes a call for `stream` ready, and numbers it unless it is local. Where the workspace must
  /// grow, a call that will be queued on a CPU does that when it runs (it throws when it cannot,
  /// and the comm has ended); another does it here: collective, after this rank's queued calls.
  /// Throws UNSUPPORTED for one that is being captured and needs memory that is not there; throws
  /// OUT_OF_RESOURCES beyond config.max_memory, before peers hear of the call; and when a rank
  /// lacks memory, on all ranks.
  GemmWork prepare(const GemmCall& call, tw_stream_t stream);

  /// Bytes of workspace that a call needs at each rank; 0 for one that goes by its parts.
  size_t workspace(const GemmCall& call) const;

  /// Collective. Makes the workspace hold `bytes`.
  void reserve(size_t bytes);

  /// Packs weights: on CPUs in one thread.
  GemmWork prepare_pack(const Operand& weights, void* packed) const;

  /// Throws INVALID_ARGUMENT naming what the kernels of this rank's GPU do not reach.
  void check_reach(const GemmCall& call) const;
  void check_reach(const void* data, size_t bytes, const char* name) const;

 private:
  using Part = std::function<void()>;
  using Local = std::shared_ptr<const LocalMemory>;

  /// A call that will be numbered next: what it needs of the workspace and of this rank's memory;
  /// `most`: of any rank's, so that all are refused alike.
  struct Next {
    CallRecord record;
    FusedNote note;
    size_t workspace;
    LocalNeed own, most;
    bool queued;
  };
  struct Memory {
    Local local;
    bool grows;  // the workspace must, when the call runs
  };

  /// What the choices go by: bytes of the whole result, as ranks exchange it.
  static size_t result_bytes(const GemmCall& call);
  FusedChoice choose(const GemmCall& call) const;
  /// Gives a call its memory. A failure on this rank alone reaches the others: with what ranks tell
  /// each other when the workspace grows, or by the comm's end.
  Memory memory_for(const Next& next);
  Memory grow_now(const Next& next, Local local, const std::optional<Error>& failure);
  void grow_queued(const Next& next);

  GemmWork prepare_fused(const GemmCall& call, ReducePath path);
  GemmWork prepare_parts(const GemmCall& call);
  GemmWork reduction_parts(const GemmCall& call);
  GemmWork gather_parts(const GemmCall& call);
  GemmWork all_to_all_parts(const GemmCall& call);
  Local parts_memory(const GemmCall& product, const GemmCall& call, const Temporaries& own,
                     const Temporaries& most);
  Part collective(const Call& how, const GemmCall& call, uint64_t* number);

  GemmWork prepare_local(const GemmCall& call);
  /// A kernel of this rank alone.
  Part local_part(const GemmLaunch& launch, int max_blocks, const Local& memory);
  void launch(const Kernel& kernel, AnyGemmArgs args, const tw_tile_view& view, float* rows,
              int blocks, bool captured) const;
  int blocks_of(const GemmLaunch& launch, int max_blocks) const;
  LocalNeed need(const GemmLaunch& launch, int blocks, size_t k) const;
  LocalNeed need_alone(const GemmLaunch& launch, int blocks, size_t k) const;
  /// Of what must be equal on all ranks; products have equal bits on one target only.
  uint64_t digest_of(const GemmCall& call) const;
  CallRecord record_of(const GemmCall& call, uint64_t digest) const;
  FusedNote note_of(const GemmCall& call, FusedWay way) const;
  void let_peers_write(const GemmCall& call, TileOut* out) const;

  Comm& comm_;
  Collectives& collectives_;
  const FusedForced forced_;
  const RanksClass ranks_;
  const int most_blocks_;  // of a launch, equal on all ranks
  const Machine& machine_;

  // Of the call being prepared.
  tw_stream_t stream_ = nullptr;
  bool queued_ = false, captured_ = false;
  Workspace workspace_;
};

}  // namespace tw
