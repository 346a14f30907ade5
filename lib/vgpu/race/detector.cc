#include "lib/vgpu/race/detector.h"

#include <algorithm>
#include <bit>

#include "lib/vgpu/isa/lanes.h"
#include "lib/vgpu/sim/machine.h"

namespace tw::vgpu {
namespace {

// Threads of a block's engines, behind its own: a ticket takes the place of one 32 before it.
constexpr uint32_t kTickets = 32;

uint32_t thread_of(const Warp& warp, int lane) {
  return static_cast<uint32_t>(warp.index * kLanes + lane);
}

bool acquires(Order order) {
  return order == Order::kAcquire || order == Order::kAcquireRelease || order == Order::kSequential;
}

bool releases(Order order) {
  return order == Order::kRelease || order == Order::kAcquireRelease || order == Order::kSequential;
}

Scope scope_of(const Op& op) { return op.order == Order::kVolatile ? Scope::kSystem : op.scope; }

/// The bytes of the word at `word` that an access touches: a bit each.
uint8_t bytes_of_word(uint64_t word, uint64_t address, uint32_t bytes) {
  const uint64_t from = std::max(word, address) - word;
  const uint64_t to = std::min(word + 4, address + bytes) - word;
  return static_cast<uint8_t>((1U << to) - (1U << from));
}

/// Atomics and orders other than weak are strong.
uint8_t strength(const Op& op, AccessKind kind) {
  const bool is_strong = op.order != Order::kWeak || kind == AccessKind::kAtomic;
  return is_strong ? static_cast<uint8_t>(1 + static_cast<int>(scope_of(op))) : 0;
}

}  // namespace

// ---- Blocks ---------------------------------------------------------------------------------

void Detector::block_begins(Block* block) {
  if (blocks_.size() <= block->id) blocks_.resize(block->id + 1);
  blocks_[block->id] = std::make_unique<BlockRecord>();
  BlockRecord& record = record_of(block->id);
  const Launch& launch = *block->launch;
  const Block* first = block->cluster->blocks.empty() ? block : block->cluster->blocks[0];
  record.launch = launch.id;
  record.cluster = first != nullptr ? first->id : block->id;
  record.gpu = block->gpu;
  record.threads = block->threads;
  record.place = "GPU " + std::to_string(block->gpu) + ", block (" +
                 std::to_string(block->index.x) + "," + std::to_string(block->index.y) + "," +
                 std::to_string(block->index.z) + ") of launch " + std::to_string(launch.id);
  const Known& known = known_at_begin(launch);
  record.thread.resize(block->warps.size() * kLanes);
  for (Thread& thread : record.thread) thread.known = thread.async_known = known;
  const auto shared = reinterpret_cast<uint64_t>(block->shared);
  shadow_.clear(shared + kSharedBase, shared + block->shared_end);
}

/// Of blocks whose launch is known to be over nothing more can be known.
Known Detector::pruned(const Known& known) const {
  auto kept = std::make_shared<Knowledge>(*known);
  std::erase_if(kept->blocks, [&](const Knowledge::Entry& entry) {
    return kept->has_launch(record_of(entry.block).launch);
  });
  std::erase_if(kept->launches, [&](uint64_t launch) { return launch <= kept->floor; });
  return kept;
}

/// Earlier launches of the stream, and those that the host or an event waited for, are over, and
/// what their threads had learnt of others holds from then on.
const Known& Detector::known_at_begin(const Launch& launch) {
  Known& known = begins_[launch.id];
  if (known) return known;
  begins_.erase(begins_.begin(), begins_.upper_bound(launch.known_floor));
  auto own = std::make_shared<Knowledge>();
  own->floor = launch.known_floor;
  own->launches = launch.known_launches;
  const auto floor = std::make_shared<Knowledge>();
  floor->floor = launch.known_floor;
  for (auto end = ends_.begin(); end != ends_.end() && end->first <= launch.known_floor;
       end = ends_.erase(end))
    below_floor_ = joined(below_floor_, end->second);
  if (below_floor_) below_floor_ = pruned(joined(below_floor_, floor));
  known = joined(below_floor_, own);
  for (const uint64_t id : launch.known_launches)
    if (const auto end = ends_.find(id); end != ends_.end()) known = joined(known, end->second);
  return known = pruned(known);
}

void Detector::block_exits(Block* block) {
  BlockRecord& record = record_of(block->id);
  Known& end = ends_[record.launch];
  const Known* latest = nullptr;
  for (const Thread& thread : record.thread) {
    if (latest == nullptr || *latest != thread.known) end = joined(end, thread.known);
    latest = &thread.known;
  }
}

void Detector::block_ends(Block* block) { record_of(block->id).thread.clear(); }

Known Detector::join(const Known& a, const Known& b) {
  if (join_of_[0] != a || join_of_[1] != b || !a || !b) {
    join_of_[2] = joined(a, b);
    join_of_[0] = a;
    join_of_[1] = b;
  }
  return join_of_[2];
}

Known Detector::snapshot(BlockRecord& record, uint64_t block, uint32_t thread) {
  Thread& own = record.thread[thread];
  auto clocks = std::make_shared<std::vector<uint32_t>>(record.thread.size() + 2 * kTickets);
  (*clocks)[thread] = own.clock++;
  own.known = with_block(own.known, block, clocks);
  return own.known;
}

void Detector::meet(const std::vector<std::pair<uint64_t, uint32_t>>& arrivals,
                    const std::vector<std::pair<uint64_t, uint32_t>>& members) {
  Known all;
  const Known* latest = nullptr;
  uint64_t block = 0;
  std::shared_ptr<std::vector<uint32_t>> clocks;
  const auto flush = [&] {
    if (clocks) all = with_block(all, block, clocks);
  };
  for (const auto& [of, number] : arrivals) {
    BlockRecord& record = record_of(of);
    if (of != block || !clocks) {
      flush();
      block = of;
      clocks = std::make_shared<std::vector<uint32_t>>(record.thread.size() + 2 * kTickets);
    }
    Thread& thread = record.thread[number];
    (*clocks)[number] = thread.clock++;
    // Most threads of a block know the same.
    if (latest == nullptr || *latest != thread.known) all = joined(all, thread.known);
    latest = &thread.known;
  }
  flush();
  for (const auto& [of, number] : members) {
    Thread& thread = record_of(of).thread[number];
    thread.known = join(thread.known, all);
  }
  // Arrivals that are members know no more than all: one object for all of them.
  if (arrivals == members)
    for (const auto& [of, number] : members) record_of(of).thread[number].known = all;
}

void Detector::barrier(Block* block, const NamedBarrier& barrier) {
  std::vector<std::pair<uint64_t, uint32_t>> arrivals, members;
  const auto add = [&](const std::vector<Warp*>& warps, auto* to) {
    for (const Warp* warp : warps)
      TW_VGPU_EACH(lane, warp->live) to->emplace_back(block->id, thread_of(*warp, lane));
  };
  add(barrier.arrivals, &arrivals);
  add(barrier.waiting, &members);
  meet(arrivals, members);
}

void Detector::warp_barrier(const Warp& warp, uint32_t lanes) {
  std::vector<std::pair<uint64_t, uint32_t>> members;
  TW_VGPU_EACH(lane, lanes) members.emplace_back(warp.block->id, thread_of(warp, lane));
  meet(members, members);
}

void Detector::cluster_barrier(Block* block) {
  std::vector<std::pair<uint64_t, uint32_t>> members;
  for (const Block* other : block->cluster->blocks)
    if (other != nullptr)
      for (const Warp& warp : other->warps)
        TW_VGPU_EACH(lane, warp.live) members.emplace_back(other->id, thread_of(warp, lane));
  meet(members, members);
}

// ---- Order ----------------------------------------------------------------------------------

bool Detector::includes(Scope scope, const BlockRecord& a, uint64_t a_block, const BlockRecord& b,
                        uint64_t b_block) const {
  switch (scope) {
    case Scope::kCta:
      return a_block == b_block;
    case Scope::kCluster:
      return a.cluster == b.cluster;
    case Scope::kGpu:
      return a.gpu == b.gpu;
    case Scope::kSystem:
      return true;
  }
  return false;
}

void Detector::release(uint64_t address, BlockRecord&, uint64_t block, uint32_t thread, Known known,
                       Scope scope, bool continues) {
  Release& latest = releases_[address];
  // A read-modify-write hands on what the word had before.
  if (continues && latest.known) {
    known = join(known, latest.known);
    scope = std::min(scope, latest.scope);
  }
  latest = {std::move(known), static_cast<uint32_t>(block), thread, scope};
}

Known Detector::acquirable(uint64_t address, const BlockRecord& record, uint64_t block,
                           uint32_t thread, Scope scope) {
  const auto at = releases_.find(address);
  if (at == releases_.end()) return nullptr;
  const Release& latest = at->second;
  if (latest.block == block && latest.thread == thread) return latest.known;
  const BlockRecord& by = record_of(latest.block);
  const bool is_mutual = includes(latest.scope, by, latest.block, record, block) &&
                         includes(scope, by, latest.block, record, block);
  return is_mutual ? latest.known : nullptr;
}

void Detector::order_access(const Op& op, uint64_t address, BlockRecord& record, uint64_t block,
                            uint32_t thread, AccessKind kind) {
  Thread& own = record.thread[thread];
  const Scope scope = scope_of(op);
  if (kind != AccessKind::kStore) {
    const Known seen = acquirable(address, record, block, thread, scope);
    const bool at_once = acquires(op.order);
    Known& latest = at_once ? own.latest : own.latest_pending;
    Known& to = at_once ? own.known : own.pending;
    if (seen && seen != latest && seen != own.latest) {
      to = join(to, seen);
      latest = seen;  // who polls sees the same again and again
    }
  }
  if (kind == AccessKind::kLoad) return;
  const bool continues = kind == AccessKind::kAtomic;
  if (releases(op.order))
    release(address, record, block, thread, snapshot(record, block, thread), scope, continues);
  else if (own.fenced)
    release(address, record, block, thread, own.fenced, std::min(scope, own.fence_scope),
            continues);
  else if (!continues)
    releases_.erase(address);
}

void Detector::fence(const Warp& warp, const Op& op) {
  BlockRecord& record = record_of(warp.block->id);
  TW_VGPU_EACH(lane, warp.active) {
    const uint32_t number = thread_of(warp, lane);
    Thread& thread = record.thread[number];
    if (op.kind != 0) {
      thread.async_clock = thread.clock++;
      thread.async_known = thread.known;
      continue;
    }
    thread.known = join(thread.known, thread.pending);
    thread.pending = nullptr;
    if (thread.latest_pending) thread.latest = std::move(thread.latest_pending);
    thread.latest_pending = nullptr;
    thread.fenced = snapshot(record, warp.block->id, number);
    thread.fence_scope = op.scope;
  }
}

// ---- Accesses -------------------------------------------------------------------------------

bool Detector::is_ordered(const Epoch& before, const Epoch& now, const Known& known) const {
  if (before.block == now.block && before.thread == now.thread) return true;
  if (known->clock(before.block, before.thread) >= before.clock) return true;
  return known->has_launch(record_of(before.block).launch);
}

bool Detector::are_strong(const Epoch& a, const Epoch& b) const {
  if (a.scope == 0 || b.scope == 0) return false;
  const BlockRecord& first = record_of(a.block);
  const BlockRecord& second = record_of(b.block);
  return includes(static_cast<Scope>(a.scope - 1), first, a.block, second, b.block) &&
         includes(static_cast<Scope>(b.scope - 1), first, a.block, second, b.block);
}

void Detector::touch(uint64_t address, const Epoch& now, const Known& known, bool writes) {
  ShadowWord& word = shadow_.word(address);
  const auto conflicts = [&](const Epoch& before) {
    return (before.bytes & now.bytes) != 0 && !is_ordered(before, now, known) &&
           !are_strong(before, now);
  };
  if (conflicts(word.write)) report(address, word.write, true, now, writes);
  if (!writes) {
    // Two reads are kept that are not ordered: the latest, and one that it knows nothing of.
    Epoch& first = word.reads[0];
    Epoch& second = word.reads[1];
    if (first.block != 0 && !is_ordered(first, now, known)) second = first;
    first = now;
    return;
  }
  for (const Epoch& read : word.reads)
    if (conflicts(read)) report(address, read, false, now, true);
  word = {now, {}};
}

void Detector::access(const Warp& warp, const Op& op, const uint64_t* addresses, uint32_t bytes,
                      AccessKind kind) {
  const uint64_t block = warp.block->id;
  BlockRecord& record = record_of(block);
  const uint8_t scope = strength(op, kind);
  const bool writes = kind != AccessKind::kLoad;
  const uint32_t where = site(warp, op);
  TW_VGPU_EACH(lane, warp.active) {
    const uint64_t address = addresses[lane];
    const auto local = reinterpret_cast<uint64_t>(warp.local);
    if (address - local < uint64_t{warp.local_stride} * kLanes) continue;
    const uint32_t number = thread_of(warp, lane);
    const Thread& thread = record.thread[number];
    Epoch now{static_cast<uint32_t>(block),  thread.clock, where,
              static_cast<uint16_t>(number), scope,        0};
    for (uint64_t at = address & ~uint64_t{3}; at < address + bytes; at += 4) {
      now.bytes = bytes_of_word(at, address, bytes);
      touch(at, now, thread.known, writes);
    }
    if (scope != 0) order_access(op, address, record, block, number, kind);
  }
}

// ---- Engines --------------------------------------------------------------------------------

std::shared_ptr<Ticket> Detector::issue(const Warp& warp, int lane) {
  const uint64_t block = warp.block->id;
  BlockRecord& record = record_of(block);
  const uint32_t number = thread_of(warp, lane);
  auto ticket = std::make_shared<EngineTicket>();
  ticket->readable = record.thread[number].async_known;
  ticket->known = snapshot(record, block, number);
  const uint32_t place = record.tickets % kTickets, clock = record.tickets / kTickets + 1;
  ++record.tickets;
  const auto base = static_cast<uint32_t>(record.thread.size()) + 2 * place;
  const uint32_t where = site(warp, warp.code[warp.pc]);
  ticket->read = {static_cast<uint32_t>(block), clock, where, static_cast<uint16_t>(base), 0, 0};
  ticket->write = {static_cast<uint32_t>(block),    clock, where,
                   static_cast<uint16_t>(base + 1), 0,     0};
  return ticket;
}

/// Whether a generic store has crossed the proxy: its thread fenced after it, or the issuer after
/// it had learnt of it.
bool Detector::is_visible_to_engines(const Epoch& store, const EngineTicket& ticket) const {
  if (ticket.readable->clock(store.block, store.thread) >= store.clock) return true;
  const BlockRecord& record = record_of(store.block);
  if (ticket.known->has_launch(record.launch)) return true;
  // Engines' own stores are in their proxy.
  if (store.thread >= record.thread.size()) return true;
  return record.thread[store.thread].async_clock >= store.clock;
}

void Detector::engine_access(const std::shared_ptr<Ticket>& ticket, uint64_t address,
                             uint32_t bytes, AccessKind kind) {
  const auto& engine = static_cast<const EngineTicket&>(*ticket);
  const bool writes = kind != AccessKind::kLoad;
  Epoch now = writes ? engine.write : engine.read;
  for (uint64_t at = address & ~uint64_t{3}; at < address + bytes; at += 4) {
    now.bytes = bytes_of_word(at, address, bytes);
    const Epoch before = shadow_.word(at).write;
    if ((before.bytes & now.bytes) != 0 && !is_visible_to_engines(before, engine))
      report(at, before, true, now, writes);
    touch(at, now, engine.known, writes);
  }
}

void Detector::engine_signal(const std::shared_ptr<Ticket>& ticket, uint64_t address) {
  const auto& engine = static_cast<const EngineTicket&>(*ticket);
  BlockRecord& record = record_of(engine.write.block);
  auto clocks = std::make_shared<std::vector<uint32_t>>(record.thread.size() + 2 * kTickets);
  if (engine.write.thread >= clocks->size()) return;  // the block has ended
  (*clocks)[engine.read.thread] = engine.read.clock;
  (*clocks)[engine.write.thread] = engine.write.clock;
  release(address, record, engine.write.block, engine.write.thread,
          with_block(engine.known, engine.write.block, clocks), Scope::kCluster, true);
}

void Detector::waited(const Warp& warp, int lane, const std::shared_ptr<Ticket>& ticket,
                      bool only_read) {
  const auto& engine = static_cast<const EngineTicket&>(*ticket);
  BlockRecord& record = record_of(warp.block->id);
  auto clocks = std::make_shared<std::vector<uint32_t>>(record.thread.size() + 2 * kTickets);
  (*clocks)[engine.read.thread] = engine.read.clock;
  if (!only_read) (*clocks)[engine.write.thread] = engine.write.clock;
  Thread& thread = record.thread[thread_of(warp, lane)];
  thread.known = with_block(thread.known, warp.block->id, clocks);
}

// ---- Reports --------------------------------------------------------------------------------

uint32_t Detector::site(const Warp& warp, const Op&) {
  const Op* op = &warp.code[warp.pc];
  const auto [at, is_new] = site_of_.try_emplace(op, static_cast<uint32_t>(sites_.size()));
  if (is_new) sites_.push_back(warp.program->where(warp.pc));
  return at->second;
}

std::string Detector::describe(const Epoch& epoch, bool writes) const {
  const BlockRecord& record = record_of(epoch.block);
  const bool is_engine = epoch.thread >= record.threads;
  return std::string(writes ? "a store" : "a load") + (epoch.scope == 0 ? "" : " (strong)") +
         " by " + record.place +
         (is_engine ? ", an asynchronous copy" : ", thread " + std::to_string(epoch.thread)) +
         "\n    at " + sites_[epoch.site];
}

void Detector::report(uint64_t, const Epoch& before, bool before_writes, const Epoch& now,
                      bool now_writes) {
  if (!reported_.insert(uint64_t{before.site} << 32 | now.site).second) return;
  found_(describe(before, before_writes) + "\n  and " + describe(now, now_writes) +
         "\n  touch the same word, and nothing orders them");
}

}  // namespace tw::vgpu
