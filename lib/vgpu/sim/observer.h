// Who watches what kernels do: the race detector. Calls come from the ops, with the machine's lock.
#pragma once

#include <cstdint>
#include <memory>

#include "lib/vgpu/sim/op.h"

namespace tw::vgpu {

struct Warp;
struct Block;
struct Launch;
struct NamedBarrier;

enum class AccessKind : uint8_t { kLoad, kStore, kAtomic };

/// An asynchronous operation, as the observer knows it.
struct Ticket {
  virtual ~Ticket() = default;
};

class Observer {
 public:
  virtual ~Observer() = default;
  /// `warp`'s active lanes access `bytes` bytes each at `addresses` (of the host). Op::order and
  /// Op::scope say what the access orders.
  virtual void access(const Warp& warp, const Op& op, const uint64_t* addresses, uint32_t bytes,
                      AccessKind kind) = 0;
  /// A fence of the active lanes; op.kind: 0 of memory, else 1 + the proxy's number.
  virtual void fence(const Warp& warp, const Op& op) = 0;
  virtual void block_begins(Block* block) = 0;
  /// Its threads have; then, when its asynchronous operations have finished, it ends.
  virtual void block_exits(Block* block) = 0;
  virtual void block_ends(Block* block) = 0;
  /// All of the barrier's warps have arrived; those that wait go on.
  virtual void barrier(Block* block, const NamedBarrier& barrier) = 0;
  /// The lanes of a warp have met at bar.warp.sync.
  virtual void warp_barrier(const Warp& warp, uint32_t lanes) = 0;
  /// All warps of the cluster have arrived at barrier.cluster.
  virtual void cluster_barrier(Block* block) = 0;

  /// One lane begins an asynchronous operation.
  virtual std::shared_ptr<Ticket> issue(const Warp& warp, int lane) = 0;
  virtual void engine_access(const std::shared_ptr<Ticket>& ticket, uint64_t address,
                             uint32_t bytes, AccessKind kind) = 0;
  /// The operation tells the mbarrier at `address` of its bytes.
  virtual void engine_signal(const std::shared_ptr<Ticket>& ticket, uint64_t address) = 0;
  /// A lane has waited until the operation was complete or, `only_read`, had read its source.
  virtual void waited(const Warp& warp, int lane, const std::shared_ptr<Ticket>& ticket,
                      bool only_read) = 0;
};

}  // namespace tw::vgpu
