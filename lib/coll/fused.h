// GEMM calls of a comm: from a checked call to a launched kernel, or to its parts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

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

  Place place() const { return {comm_.rank(), comm_.size()}; }

  /// Makes a call ready, and numbers it unless it is local. Collective when the workspace must
  /// grow; waits for queued calls when it or scratch must. Throws OUT_OF_RESOURCES beyond
  /// config.max_memory, before peers hear of the call.
  GemmWork prepare(const GemmCall& call);

  /// Bytes of workspace that a call needs at each rank; 0 for one that goes by its parts.
  size_t workspace(const GemmCall& call) const;

  /// Collective. Makes the workspace hold `bytes`.
  void reserve(size_t bytes) { workspace_.grow(bytes, 0, nullptr); }

  /// Packs weights, in one thread.
  GemmWork prepare_pack(const Operand& weights, void* packed) const;

 private:
  using Part = std::function<void()>;

  /// What the choices go by: bytes of the whole result, as ranks exchange it.
  static size_t result_bytes(const GemmCall& call);
  FusedChoice choose(const GemmCall& call) const;
  GemmWork prepare_fused(const GemmCall& call, ReducePath path);
  GemmWork prepare_parts(const GemmCall& call);
  GemmWork reduction_parts(const GemmCall& call);
  GemmWork gather_parts(const GemmCall& call);
  GemmWork all_to_all_parts(const GemmCall& call);
  void make_parts_local(const GemmCall& call, size_t most, size_t sums, size_t moved,
                        size_t arrived);
  Part collective(const Call& how, const GemmCall& call, uint64_t* number);
  Part local_part(const GemmLaunch& launch, int max_blocks);
  GemmWork prepare_local(const GemmLaunch& local, int max_blocks);
  int blocks_of(const GemmLaunch& launch, int max_blocks) const;
  Workspace::Local local_need(const GemmLaunch& launch, int blocks, size_t k) const;
  CallRecord record_of(const GemmCall& call, uint64_t digest) const;
  /// Fills in what the comm's memory gives.
  GemmWork work(GemmLaunch* launch, const tw_tile_view& view, int blocks) const;
  void let_peers_write(const GemmCall& call, tw_tile_view* view) const;

  Comm& comm_;
  Collectives& collectives_;
  const FusedForced forced_;
  const RanksClass ranks_;
  const int most_blocks_;  // of a launch, equal on all ranks
  Workspace workspace_;
};

}  // namespace tw
