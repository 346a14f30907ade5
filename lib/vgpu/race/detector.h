// The happens-before detector: reports two accesses to a word, one of them a store, that nothing
// orders. Knows scopes, release and acquire patterns with fences, barriers of blocks and clusters,
// mbarriers, asynchronous copies, kernels in streams.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "lib/vgpu/race/knowledge.h"
#include "lib/vgpu/race/shadow.h"
#include "lib/vgpu/sim/block.h"
#include "lib/vgpu/sim/observer.h"

namespace tw::vgpu {

class Detector : public Observer {
 public:
  /// `found` gets the text of each race, once for each pair of instructions.
  explicit Detector(std::function<void(const std::string&)> found) : found_(std::move(found)) {}

  void access(const Warp& warp, const Op& op, const uint64_t* addresses, uint32_t bytes,
              AccessKind kind) override;
  void fence(const Warp& warp, const Op& op) override;
  void block_begins(Block* block) override;
  void block_exits(Block* block) override;
  void block_ends(Block* block) override;
  void barrier(Block* block, const NamedBarrier& barrier) override;
  void warp_barrier(const Warp& warp, uint32_t lanes) override;
  void cluster_barrier(Block* block) override;
  std::shared_ptr<Ticket> issue(const Warp& warp, int lane) override;
  void engine_access(const std::shared_ptr<Ticket>& ticket, uint64_t address, uint32_t bytes,
                     AccessKind kind) override;
  void engine_signal(const std::shared_ptr<Ticket>& ticket, uint64_t address) override;
  void waited(const Warp& warp, int lane, const std::shared_ptr<Ticket>& ticket,
              bool only_read) override;

 private:
  struct Thread {
    Known known;
    uint32_t clock = 1;
    Known fenced;  // what the latest fence released, with its scope
    Scope fence_scope = Scope::kCta;
    Known pending;  // what relaxed loads have seen, for the next fence
    Known latest;   // the latest that `known` was joined with, or by relaxed loads `pending`
    Known latest_pending;
    // At the latest fence.proxy.async: what engines may read of this thread's and others' stores.
    uint32_t async_clock = 0;
    Known async_known;
  };
  /// What is kept of a block: its threads while it runs, its place for reports.
  struct BlockRecord {
    uint64_t launch = 0;
    uint64_t cluster = 0;  // the id of the cluster's first block
    int gpu = 0;
    uint32_t threads = 0;
    uint32_t tickets = 0;
    std::string place;
    std::vector<Thread> thread;
  };
  /// The latest release at an address.
  struct Release {
    Known known;
    uint32_t block;
    uint32_t thread;
    Scope scope;
  };
  /// Reads and stores of an operation are two threads of their own, so that it is known of each
  /// whether it has happened.
  struct EngineTicket : Ticket {
    Known known;     // of the lane at issue
    Known readable;  // of the stores that engines see
    Epoch read, write;
  };

  /// What every thread of the launch knows when it begins.
  const Known& known_at_begin(const Launch& launch);
  Known pruned(const Known& known) const;
  BlockRecord& record_of(uint64_t block) { return *blocks_[block]; }
  const BlockRecord& record_of(uint64_t block) const { return *blocks_[block]; }
  /// joined(), which lanes of a warp ask for in a row with the same.
  Known join(const Known& a, const Known& b);
  Known snapshot(BlockRecord& record, uint64_t block, uint32_t thread);
  void release(uint64_t address, BlockRecord& record, uint64_t block, uint32_t thread, Known known,
               Scope scope, bool continues);
  Known acquirable(uint64_t address, const BlockRecord& record, uint64_t block, uint32_t thread,
                   Scope scope);
  void order_access(const Op& op, uint64_t address, BlockRecord& record, uint64_t block,
                    uint32_t thread, AccessKind kind);
  bool includes(Scope scope, const BlockRecord& a, uint64_t a_block, const BlockRecord& b,
                uint64_t b_block) const;
  bool is_ordered(const Epoch& before, const Epoch& now, const Known& known) const;
  bool are_strong(const Epoch& a, const Epoch& b) const;
  void touch(uint64_t address, const Epoch& now, const Known& known, bool writes);
  bool is_visible_to_engines(const Epoch& store, const EngineTicket& ticket) const;
  /// All `members` know what all `arrivals` have done.
  void meet(const std::vector<std::pair<uint64_t, uint32_t>>& arrivals,
            const std::vector<std::pair<uint64_t, uint32_t>>& members);
  uint32_t site(const Warp& warp, const Op& op);
  void report(uint64_t address, const Epoch& before, bool before_writes, const Epoch& now,
              bool now_writes);
  std::string describe(const Epoch& epoch, bool writes) const;

  std::function<void(const std::string&)> found_;
  Shadow shadow_;
  std::vector<std::unique_ptr<BlockRecord>> blocks_;  // by id
  std::unordered_map<uint64_t, Release> releases_;    // by address
  std::map<uint64_t, Known> begins_, ends_;           // what launches knew, by number
  Known join_of_[3];                                  // two and what they know together
  Known below_floor_;  // the same in the end of all that the host has seen to be over
  std::unordered_map<const Op*, uint32_t> site_of_;
  std::vector<std::string> sites_;         // where they are, for reports
  std::unordered_set<uint64_t> reported_;  // pairs of sites
};

}  // namespace tw::vgpu
