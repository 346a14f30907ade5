// Who watches what kernels do: the race detector. Calls come from the ops, with the machine's lock.
#pragma once

#include <cstdint>

#include "lib/vgpu/sim/op.h"

namespace tw::vgpu {

struct Warp;
struct Block;
struct Cluster;
struct Launch;

enum class AccessKind : uint8_t { kLoad, kStore, kAtomic };

class Observer {
 public:
  virtual ~Observer() = default;
  /// `warp`'s active lanes access `bytes` bytes each at `addresses` (of the host).
  virtual void access(const Warp& warp, const Op& op, const uint64_t* addresses, uint32_t bytes,
                      AccessKind kind) = 0;
  virtual void fence(const Warp& warp, const Op& op) = 0;
  virtual void block_begins(Block* block) = 0;
  virtual void block_ends(Block* block) = 0;
  virtual void barrier(Block* block, const NamedBarrier& barrier) = 0;
  virtual void launch_begins(const Launch& launch) = 0;
  virtual void launch_ends(const Launch& launch) = 0;
};

}  // namespace tw::vgpu
