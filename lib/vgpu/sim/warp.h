// A warp: registers as arrays of 32 lanes, and groups of lanes that stand at different ops.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lib/vgpu/sim/fault.h"
#include "lib/vgpu/sim/memory.h"
#include "lib/vgpu/sim/op.h"

namespace tw::vgpu {

struct Block;
struct Program;
struct Ticket;

inline constexpr int kLanes = 32;
inline constexpr uint32_t kAllLanes = ~uint32_t{0};

/// Lanes of a warp that stand at the same op.
struct LaneGroup {
  int pc;
  uint32_t lanes;
  bool is_parked;
};

/// A cp.async of one lane that is still under way.
struct PendingCopy {
  uint8_t* to;
  const uint8_t* from;
  uint32_t bytes;
  uint32_t zeros;  // bytes that become zero behind them
  int lane;
  uint32_t group;  // of the lane
};

/// Bulk copies that one lane has committed together.
struct BulkGroup {
  int reading = 0;  // of the source
  int writing = 0;
  std::vector<std::shared_ptr<Ticket>> tickets;  // of its copies, for an observer
};

struct Warp {
  uint8_t* bank[2] = {};  // registers, constants
  uint32_t* predicates = nullptr;
  uint32_t active = 0;  // the lanes that the current op acts for
  uint32_t mask = 0;    // the current group's lanes
  uint32_t live = 0;    // lanes that have not exited
  int pc = 0;
  int yielded_at = 0;           // the latest op after which other warps had their turn
  bool shuffle_groups = false;  // the next group is picked at random
  bool is_queued = false;
  bool is_done = false;
  const Op* code = nullptr;
  const Slot* lists = nullptr;
  Block* block = nullptr;
  const Program* program = nullptr;
  int index = 0;                  // in the block
  std::vector<LaneGroup> others;  // groups that are not the current one
  uint8_t* local = nullptr;       // of lane 0; lanes follow each other
  uint32_t local_stride = 0;
  ReachCache reach;
  uint64_t thread_ops = 0;
  const Op* waiting_at = nullptr;  // of a block's barrier
  uint32_t waiting_lanes = 0;
  std::vector<PendingCopy> copies;
  uint32_t copy_groups[32] = {};  // that each lane has committed
  uint32_t wgmma_issued = 0;
  std::vector<uint32_t> wgmma_commits;  // wgmma_issued at each commit
  struct LaneBulk {
    std::shared_ptr<BulkGroup> open;  // not yet committed
    std::vector<std::shared_ptr<BulkGroup>> committed;
  };
  std::unique_ptr<LaneBulk[]> bulk;  // by lane, when the warp has issued a bulk copy
  bool in_cluster_barrier = false;   // arrived and not waited yet, with the phase
  uint64_t cluster_phase = 0;

  template <class T>
  T* at(Slot slot) const {
    return reinterpret_cast<T*>(bank[slot & 1] + (slot & ~Slot{1}));
  }
  uint32_t predicate(PredicateRef ref) const { return predicates[ref >> 1] ^ (0u - (ref & 1)); }
  void set_predicate(uint32_t number, uint32_t lanes) {
    uint32_t& word = predicates[number];
    word = (word & ~active) | (lanes & active);
  }
  /// Whether all lanes of `members` that still live stand here.
  bool has_all(uint32_t members) const { return (members & live & ~mask) == 0; }

  /// Executes up to `quantum` ops.
  Step execute(int quantum);

  /// Throws a Fault that names the warp's place.
  [[noreturn]] void fault(FaultKind kind, const std::string& sentence) const;
  /// "GPU 1, block (0,0,0) of name, warp 3".
  std::string place() const;

 private:
  void pick_group();
};

}  // namespace tw::vgpu
