// The block on GPUs: Target::kThreads threads, all of which call every op with equal arguments.
// Contracts: tile/block.h.
//
// Order within the block. An op that moves data leaves it to the next op to wait for all threads:
// `dirty_` says that a block barrier is due. Every op that needs the effects of earlier ones, or
// the block's shared memory, begins with `settle`; a signal begins with a barrier in any case.
//
// Signals. release: block barrier, then one `fence.acq_rel.sys` and a relaxed store in each thread
// that stores (one warp instruction each, whatever the number of peers). The fence is cumulative
// over what the barrier ordered before it. acquire: one thread polls relaxed loads, fences once,
// and the barrier that spreads the result orders all threads after it.
//
// Multicast. Its stores go through another proxy than the unicast addresses of the same memory:
// each thread that stores has a `fence.proxy.alias` before them (after what ordered the memory's
// last readers before it) and after them, before the barrier of the release that announces them.
//
// Packets are relaxed. A reader that finds the word has the payload, since both came in one access,
// but nothing else is ordered: Target::kPacketsOrder. Both sides' accesses to inboxes are strong at
// system scope, so inboxes themselves may be reused on the word of a packet alone; slots, staging
// and windows, which are read and written by weak accesses, may not (call.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/kernels/coll.h"
#include "tilewire/tile/comm_view.h"
#include "tilewire/tile/impl/gpu/copy.h"
#include "tilewire/tile/impl/gpu/ptx/memory.h"
#include "tilewire/tile/impl/gpu/reduce.h"
#include "tilewire/tile/impl/gpu/shared.h"

namespace TW_NS {

static_assert(Target::kThreads >= 2 * kMaxRanks + 1, "a thread for each operand of a reduction");

class Block {
 public:
  TW_FN Block(int index, int blocks, const char* name, WaitContext* wait)
      : index_(index), blocks_(blocks), name_(name) {
    if (this_thread() == 0) {
      shared().wait = wait;
      shared().name = name;
      shared().index = index;
    }
    __syncthreads();
  }

  TW_FN int index() const { return index_; }
  TW_FN int blocks() const { return blocks_; }
  TW_FN const char* name() const { return name_; }

  TW_FN void copy(void* to, const void* from, size_t bytes) {
    settle();
    copy_bytes(to, from, bytes);
    dirty_ = true;
  }

  TW_FN void store(void* to, const void* from, size_t bytes, StorePolicy /*policy*/) {
    copy(to, from, bytes);
  }

  template <class To>
  TW_FN void store_all(int n, To to, void* everywhere, const void* from, size_t bytes,
                       StorePolicy policy) {
    const auto source = [&](int) { return Source{from, 0, false}; };
    const auto destination = [&](int i) { return Destination{to(i), policy}; };
    set_up(TW_UINT64, TW_SUM, 1, source, n, destination, bytes, 1, {}, everywhere);
    reduce_units_everywhere(everywhere);
  }

  template <class SourceOf, class DestinationOf>
  TW_FN void reduce(const Reduction& reduction, int sources, SourceOf source, int destinations,
                    DestinationOf destination, size_t count, size_t element,
                    void* everywhere = nullptr) {
    set_up(reduction.type, reduction.op, sources, source, destinations, destination,
           count * element, element, {}, everywhere);
    reduce_units_everywhere(everywhere);
  }

  TW_FN void store_input(const Reduction& reduction, void* to, const void* from, size_t count,
                         size_t element, StorePolicy policy) {
    if (!reduction.scaled) return store(to, from, count * element, policy);
    reduce(
        {reduction.type, TW_SUM, 0, 0}, 1,
        [&](int) {
          return Source{from, reduction.factor, true};
        },
        1,
        [&](int) {
          return Destination{to, policy};
        },
        count, element);
  }

  TW_FN void put_packets(void* inbox, const void* from, size_t bytes, uint64_t word,
                         const Reduction* scale) {
    const bool scaled = scale != nullptr && scale->scaled != 0;
    const auto source = [&](int) { return Source{from, scaled ? scale->factor : 0, scaled}; };
    const auto destination = [&](int) { return Destination{inbox, StorePolicy::kPlain}; };
    set_up(scaled ? scale->type : TW_UINT64, TW_SUM, 1, source, 1, destination, bytes, 1,
           {-1, 0, true, word});
    reduce_units();
  }

  TW_FN void expect_store(void* /*to*/, size_t /*bytes*/) {}

  TW_FN bool get_packets(void* to, const void* inbox, size_t bytes, uint64_t word, int peer) {
    const auto source = [&](int) { return Source{inbox, 0, false}; };
    const auto destination = [&](int) { return Destination{to, StorePolicy::kPlain}; };
    constexpr int kNoSource = kMaxRanks;  // none is memory
    set_up(TW_UINT64, TW_SUM, 1, source, 1, destination, bytes, 1, {kNoSource, peer, false, word});
    return agreed(reduce_units());
  }

  template <class Inbox>
  TW_FN bool reduce_packets(const Reduction& reduction, void* to, const void* own, int ranks,
                            int self, Inbox inbox, size_t count, size_t element, uint64_t word) {
    const auto source = [&](int r) {
      return r == self ? Source{own, reduction.factor, reduction.scaled != 0}
                       : Source{inbox(r), 0, false};
    };
    const auto destination = [&](int) { return Destination{to, StorePolicy::kPlain}; };
    set_up(reduction.type, reduction.op, ranks, source, 1, destination, count * element, element,
           {self, 0, false, word});
    return agreed(reduce_units());
  }

  template <class Line>
  TW_FN void signal(Site /*site*/, int n, Line line, uint64_t value) {
    // Also when no op has left a barrier due: a signal tells what all threads have read besides, as
    // an exit does of entries, which the peer may then write again.
    __syncthreads();
    dirty_ = false;
    if (this_thread() >= n) return;  // n <= kMaxRanks
    FlagLine* to = line(this_thread());
    if (to != nullptr) release(&to->value, value);
  }

  template <class Line, class Payload>
  TW_FN void signal(Site /*site*/, int n, Line line, uint64_t value, Payload payload) {
    settle();
    if (this_thread() >= n) return;
    FlagLine* to = line(this_thread());
    if (to == nullptr) return;
    const EntryPayload what = payload(this_thread());
    ptx::store_relaxed_sys(&to->send_at, what.send_at);
    ptx::store_relaxed_sys(&to->recv_at, what.recv_at);
    ptx::store_relaxed_sys(&to->factor, what.factor);
    ptx::store_relaxed_sys(&to->bytes, what.bytes);
    ptx::store_relaxed_sys(&to->history, what.history);
    release(&to->value, value);
  }

  TW_FN bool wait(const uint64_t* word, uint64_t value, int peer, uint64_t index) {
    dirty_ = false;
    return wait_word(this_thread() == 0 ? word : nullptr, value, peer, index, /*digest=*/false);
  }

  TW_FN bool wait_digest(const uint64_t* word, uint64_t value, int peer) {
    dirty_ = false;
    return wait_word(this_thread() == 0 ? word : nullptr, value, peer, 0, /*digest=*/true);
  }

  template <class Word, class Peer>
  TW_FN bool wait_all(int n, Word word, uint64_t value, Peer peer, uint64_t index) {
    return wait_words(n, word, value, peer, index, /*digest=*/false);
  }

  template <class Word, class Peer>
  TW_FN bool wait_digest_all(int n, Word word, uint64_t value, Peer peer) {
    return wait_words(n, word, value, peer, 0, /*digest=*/true);
  }

  TW_FN void report_mismatch(int peer, uint64_t got, uint64_t want) {
    if (this_thread() == 0) fail(TW_ERROR_MISMATCH, peer, 0, want, got);
  }

  TW_FN bool whole() const { return true; }  // moves are never cut short

  TW_FN bool idle(int peer, uint64_t index, uint64_t round) {
    bool ok = true;
    if (this_thread() == 0) {
      if (round == 0) idle_since_ = 1;
      if (round % kSpinsToRest == kSpinsToRest - 1) {
        idle_since_ = rest(idle_since_, peer, index, 0, 0);
        ok = idle_since_ != 0;
      }
    }
    return agreed(ok);
  }

  TW_FN uint64_t load(const uint64_t* word) {
    settle();
    if (this_thread() == 0) shared().word = ptx::load_acquire_sys(word);
    __syncthreads();
    const uint64_t value = shared().word;
    dirty_ = true;  // the next op must not overwrite shared().word before all have read it
    return value;
  }

  TW_FN void publish(Site /*site*/, uint64_t* word, uint64_t value) {
    settle();
    if (is_publisher()) release(word, value);
  }

  TW_FN void record(CallRecord* to, const CallRecord& from, uint64_t* next) {
    if (!is_publisher()) return;
    ptx::store_relaxed_sys(next, 0);
    ptx::store_relaxed_sys(&to->call, from.call);
    ptx::store_relaxed_sys(&to->type, from.type);
    ptx::store_relaxed_sys(&to->op, from.op);
    ptx::store_relaxed_sys(reinterpret_cast<uint32_t*>(&to->root),
                           static_cast<uint32_t>(from.root));
    ptx::store_relaxed_sys(&to->count, from.count);
    ptx::store_relaxed_sys(&to->digest, from.digest);
    ptx::store_relaxed_sys(&to->parts, from.parts);
#pragma unroll
    for (int i = 0; i < kRecordParts; ++i) ptx::store_relaxed_sys(&to->part[i], from.part[i]);
    ptx::store_release_sys(&to->seq, from.seq);
  }

  TW_FN bool last(uint64_t* finished) {
    if (blocks_ == 1) {
      settle();
      return true;
    }
    // In a block that had nothing to do, threads may not have read yet what the last block changes.
    __syncthreads();
    bool is_last = true;
    if (this_thread() == 0) {
      const uint64_t others = static_cast<uint64_t>(blocks_) - 1;
      is_last = ptx::add_acq_rel_gpu(finished, 1) == others;
      if (is_last) ptx::store_relaxed_gpu(finished, 0);
    }
    return agreed(is_last);
  }

  TW_FN void set(uint64_t* word, uint64_t value) {
    __syncthreads();  // all threads have read the old value
    if (this_thread() == 0) *word = value;
    __syncthreads();
    dirty_ = false;
  }

 private:
  /// What makes a Work more than a reduction of memory: see Work.
  struct Packets {
    int own = -1;
    int peer = 0;
    bool to_inbox = false;
    uint64_t word = 0;
  };

  /// Waits for all threads' earlier ops, if any were since the last barrier.
  TW_FN void settle() {
    if (dirty_) __syncthreads();
    dirty_ = false;
  }

  /// Stores through a multicast address, unless it is null, are fenced off from accesses to the
  /// same memory by unicast addresses.
  TW_FN static void reduce_units_everywhere(const void* everywhere) {
    const bool aliases = everywhere != nullptr && Target::kMulticast;
    if (aliases) ptx::fence_proxy_alias();
    reduce_units();
    if (aliases) ptx::fence_proxy_alias();
  }

  /// One thread's release of everything before the block's last barrier.
  TW_FN static void release(uint64_t* word, uint64_t value) {
    ptx::fence_acq_rel_sys();
    ptx::store_relaxed_sys(word, value);
  }

  template <class Word, class Peer>
  TW_FN bool wait_words(int n, Word word, uint64_t value, Peer peer, uint64_t index, bool digest) {
    dirty_ = false;
    const int t = this_thread();
    return wait_word(t < n ? word(t) : nullptr, value, t < n ? peer(t) : 0, index, digest);
  }

  /// Barrier; true when all threads say so.
  TW_FN bool agreed(bool ok) {
    dirty_ = false;
    return __syncthreads_and(ok) != 0;
  }

  /// The thread whose fences nobody waits for: it is the last to get a packet.
  TW_FN static bool is_publisher() { return this_thread() == Target::kThreads - 1; }

  template <class SourceOf, class DestinationOf>
  TW_FN void set_up(tw_type_t type, tw_op_t op, int sources, SourceOf source, int destinations,
                    DestinationOf destination, size_t bytes, size_t element, Packets packets,
                    void* everywhere = nullptr) {
    settle();
    Work& work = shared().work;
    const int t = this_thread();
    if (t < sources) {
      const Source s = source(t);
      work.source[t] = static_cast<const Byte*>(s.data);
      work.factor[t] = s.factor;
      work.scaled[t] = s.scaled ? 1 : 0;
    }
    const int d = t - kMaxRanks;
    if (d >= 0 && d < destinations) work.destination[d] = static_cast<Byte*>(destination(d).data);
    if (t == Target::kThreads - 1) {
      work.type = type;
      work.op = op;
      work.sources = sources;
      work.destinations = destinations;
      const bool any = packets.own >= 0 || packets.to_inbox;
      work.everywhere = Target::kMulticast ? static_cast<Byte*>(everywhere) : nullptr;
      work.units =
          cut(bytes, element, type, any, destinations == 0 ? nullptr : destination(0).data);
      work.own = packets.own;
      work.peer = packets.peer;
      work.to_inbox = packets.to_inbox;
      work.word = packets.word;
    }
    __syncthreads();
    dirty_ = true;
  }

  int index_;
  int blocks_;
  const char* name_;
  bool dirty_ = false;
  uint64_t idle_since_ = 1;
};

}  // namespace TW_NS
