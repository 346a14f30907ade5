// A block: its warps, shared memory and barriers.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "lib/vgpu/sim/launch.h"
#include "lib/vgpu/sim/warp.h"

namespace tw::vgpu {

class Machine;
class Observer;
struct Block;

/// What a barrier gives its threads (Op::kind of its instruction).
enum BarrierResult : uint8_t { kNoResult, kWhetherAll, kWhetherAny, kHowMany };

struct NamedBarrier {
  uint32_t arrived = 0;   // threads
  uint32_t expected = 0;  // as the first arrival gave it; 0: all threads of the block
  bool all = true;
  bool any = false;
  uint32_t count = 0;
  std::vector<Warp*> waiting;
  std::vector<Warp*> arrivals;  // those that wait, and those that only arrived
};

/// A wgmma of a warpgroup that not all its warps have issued or that has not been executed.
struct PendingWgmma {
  const Op* op;
  uint64_t a;
  uint64_t b;
  bool accumulates;
  uint32_t issued;  // bit by warp of the group
};

struct Warpgroup {
  std::deque<PendingWgmma> pending;
  uint32_t first = 0;  // the number of pending[0]
};

/// Blocks that run at the same time and reach each other's shared memory.
struct Cluster {
  std::vector<Block*> blocks;  // by rank; null when it has exited
  uint32_t arrived = 0;        // warps, in this phase
  uint32_t live_warps = 0;
  uint64_t phase = 0;

  /// Ends the phase when all live warps have arrived.
  bool advance_if_complete() {
    if (arrived == 0 || arrived < live_warps) return false;
    arrived = 0;
    ++phase;
    return true;
  }
};

/// Memory of one block: registers, predicates, local and shared memory. Reused by later blocks.
class BlockStorage {
 public:
  explicit BlockStorage(size_t bytes);
  ~BlockStorage();
  BlockStorage(const BlockStorage&) = delete;
  BlockStorage& operator=(const BlockStorage&) = delete;
  uint8_t* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  uint8_t* data_;
  size_t bytes_;
};

struct Block {
  Machine* machine = nullptr;
  Observer* observer = nullptr;  // null: nobody looks for races
  Launch* launch = nullptr;
  int gpu = 0;
  int gpu_count = 1;
  Dim3 index;
  uint64_t number = 0;  // in the grid
  uint32_t threads = 0;
  uint32_t cluster_rank = 0;
  std::shared_ptr<Cluster> cluster;
  uint8_t* shared = nullptr;  // of shared address 0; the first valid is kSharedBase
  uint32_t shared_end = 0;    // the address after the last
  uint64_t id = 0;            // unique in the machine
  int live_warps = 0;
  int engines = 0;  // asynchronous operations that still refer to the block
  std::vector<Warp> warps;
  NamedBarrier barriers[16];
  std::vector<Warpgroup> warpgroups;
  std::unique_ptr<BlockStorage> storage;

  uint32_t live_threads() const;
  /// Takes a warp's arrival at barrier `number` and releases it when it is complete.
  void arrive(int number, uint32_t threads, uint32_t expected);
  /// Releases what only waited for threads that have exited.
  void recheck_barriers();

 private:
  void release_if_complete(NamedBarrier* barrier);
};

/// A block of `launch` with the number `number`, its warps at the entry. `storage` may be of an
/// earlier block.
std::unique_ptr<Block> make_block(Machine* machine, Launch* launch, uint64_t number,
                                  std::unique_ptr<BlockStorage> storage);
/// Bytes that a block of `launch` needs.
size_t storage_bytes(const Launch& launch);

}  // namespace tw::vgpu
