// The block: the unit that runs a tile program, and everything that a kernel may do with memory.
//
// `BlockOps` below is the contract, written once; `Block` is this target's implementation of it
// (impl/{cpu,gpu}/block.h). Kernels are templates over Block and use nothing else. `Call`
// (call.h) builds a collective's addresses and protocol rules on these ops, for every target.
//
// Reading the contracts
//   Role     which part of the block's hardware acts. On GPUs every thread of the block calls every
//            op, with equal arguments, in uniform control flow; an op's later neighbour sees its
//            effects (the op ends with a block barrier where that needs one).
//   Scope    block: effects are for this block. system: for every device of the comm.
//   Order    of the op's own accesses. release: after all earlier ops of this block. acquire:
//            before all later ops. none: ordered only by a later signal, or by the block's program
//            order.
//   Blocks   whether it may wait for a peer. Ops that may wait are bounded by the comm's
//            WaitContext; they return false when the comm has failed: leave the kernel at once,
//            touch nothing.
// Functors (`Source`, `Target`, `Line`) are small lambdas called with an index, perhaps by each
// thread and more than once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/kernels/coll.h"
#include "tilewire/tile/comm_view.h"
#include "tilewire/tile/target.h"

namespace TW_NS {

/// A half-open range of a message, in elements (or bytes where said).
struct Range {
  size_t begin;
  size_t end;
  TW_FN size_t size() const { return end - begin; }
  TW_FN bool empty() const { return end == begin; }
};

/// Part `index` of `parts` nearly equal parts of `range`, cut at multiples of `granule` from its
/// begin. Parts may be empty; together they are the range.
TW_FN Range part_of(Range range, size_t index, size_t parts, size_t granule) {
  const size_t granules = (range.size() + granule - 1) / granule;
  const size_t each = granules / parts;
  const size_t longer = granules % parts;  // the first `longer` parts have one granule more
  const size_t first = index * each + (index < longer ? index : longer);
  const size_t last = first + each + (index < longer ? 1 : 0);
  const size_t begin = range.begin + first * granule;
  const size_t end = range.begin + last * granule;
  return {begin < range.end ? begin : range.end, end < range.end ? end : range.end};
}

/// Window memory of rank `of`, by location.
TW_FN char* window_memory(const CommView& comm, int of, uint64_t location) {
  const uint64_t row = location_segment(location) * static_cast<uint64_t>(comm.size);
  return comm.segments[row + static_cast<uint64_t>(of)] + location_offset(location);
}

/// One input of a reduction. `scaled`: multiplied by `factor` (bits of one element), rounded.
struct Source {
  const void* data;
  uint64_t factor;
  bool scaled;
};

/// One output of a reduction, and how its bytes leave.
struct Destination {
  void* data;
  StorePolicy policy;
};

/// Payload of an entry signal: see FlagLine.
struct EntryPayload {
  uint64_t send_at;
  uint64_t recv_at;
  uint64_t factor;
  uint64_t bytes;
  uint64_t history;
};

/// The places where kernels release. Tests weaken one at a time.
enum class Site : int {
  kNone,
  kPacket,
  kEntry,
  kExit,
  kIn,
  kOut,
  kEntered,
  kChannel,
  kConsumed,
  kSignal  // of a user's signal set
};

// clang-format off
#if 0  // The contract. Never compiled: Block has these members.
class BlockOps {
 public:
  /// This block's number, the launch's number of blocks (equal on all ranks), the kernel's name.
  int index() const;
  int blocks() const;
  const char* name() const;

  // ---- Moving bytes. Sizes may be 0; addresses need no alignment. ----

  /// Copies to memory that no peer reads before the launch ends. No overlap.
  /// Role: all. Scope: block. Order: none. Blocks: no.
  void copy(void* to, const void* from, size_t bytes);

  /// Copies to memory that a peer (or, from own staging, peers) will read after a later signal. How
  /// the bytes leave is the policy's and the target's matter; the next signal completes them.
  /// Role: storer. Scope: system. Order: none. Blocks: no.
  void store(void* to, const void* from, size_t bytes, StorePolicy policy);

  /// A hint: `bytes` at `to`, which another rank has read last, will soon be stored.
  /// Role: storer. Scope: none. Order: none. Blocks: no.
  void expect_store(void* to, size_t bytes);

  /// As store, of one message to n places. `everywhere`: one address that reaches all of them
  /// (multicast), or null. The result is the same with and without.
  template <class To>
  void store_all(int n, To to, void* everywhere, const void* from, size_t bytes,
                 StorePolicy policy);

  /// destination(0 .. destinations-1)[i] = op over s = 0 .. sources-1, in that order, of
  /// source(s)[i], for `count` elements of `element` bytes. Accumulation and rounding:
  /// tile/types.h and tilewire.h; TW_AVG divides by `sources`. source(s) is a Source,
  /// destination(d) a Destination; one may equal the other, any other overlap is not allowed.
  /// Reads and writes each line once.
  /// `everywhere`: as in store_all, for the destinations.
  /// Role: all. Scope: system (as store). Order: none. Blocks: no.
  template <class SourceOf, class DestinationOf>
  void reduce(const Reduction& reduction, int sources, SourceOf source, int destinations,
              DestinationOf destination, size_t count, size_t element, void* everywhere = nullptr);

  /// As store, of `count` elements of a reduction's input; applies its factor where it has one.
  void store_input(const Reduction& reduction, void* to, const void* from, size_t count,
                   size_t element, StorePolicy policy);

  // ---- Packets: payload and epoch word travel together; no signal is needed. An inbox holds
  // max(1, ceil(bytes / Target::kPacketPayload)) packets of Target::kPacketBytes; a message of 0
  // bytes is one packet. `word` is Call::word(). ----

  /// Puts a message into an inbox. `scale`: null, or the reduction whose factor is applied first.
  /// Role: storer. Scope: system. Order: release, per packet, if Target::kPacketsOrder; else of the
  /// payload only. Blocks: no.
  void put_packets(void* inbox, const void* from, size_t bytes, uint64_t word,
                   const Reduction* scale);

  /// Receives a message of `bytes` into `to` (null when bytes is 0).
  /// Role: all. Scope: system. Order: acquire, as put_packets. Blocks: yes.
  bool get_packets(void* to, const void* inbox, size_t bytes, uint64_t word, int peer);

  /// to[i] = op over r = 0 .. ranks-1, in order, of own[i] (r == self) or the message in inbox(r).
  /// `to` may equal `own`. Own elements are scaled by the reduction's factor where it has one.
  /// Role: all. Scope: system. Order: acquire, as put_packets. Blocks: yes.
  template <class Inbox>
  bool reduce_packets(const Reduction& reduction, void* to, const void* own, int ranks, int self,
                      Inbox inbox, size_t count, size_t element, uint64_t word);

  // ---- Signals ----

  /// Stores `value` into line(0 .. n-1)->value, after every earlier op of this block is complete
  /// and visible to the peers (GPU: one system fence for all). `site` names the place. Where
  /// line(i) is null there is no signal.
  /// Role: storer. Scope: system. Order: release. Blocks: no.
  template <class Line>
  void signal(Site site, int n, Line line, uint64_t value);

  /// As signal, with a payload for each line that the waiter reads after it has seen the value.
  /// Where line(i) is null there is no signal.
  template <class Line, class Payload>
  void signal(Site site, int n, Line line, uint64_t value, Payload payload);

  /// Waits until *word >= value. `peer` and `index` are for messages.
  /// Role: all. Scope: system. Order: acquire. Blocks: yes.
  bool wait(const uint64_t* word, uint64_t value, int peer, uint64_t index);

  /// Waits until *word is of the epoch of `value` or later; if it is of that epoch and its digest
  /// differs, reports a mismatch and returns false.
  /// Role: all. Scope: system. Order: acquire. Blocks: yes.
  bool wait_digest(const uint64_t* word, uint64_t value, int peer);

  /// As wait and wait_digest, for word(0 .. n-1) of peer(0 .. n-1); null words are not waited for.
  template <class Word, class Peer>
  bool wait_all(int n, Word word, uint64_t value, Peer peer, uint64_t index);
  template <class Word, class Peer>
  bool wait_digest_all(int n, Word word, uint64_t value, Peer peer);

  /// Reports that a peer's call does not match this one: `got` and `want` as WaitContext::mismatch.
  /// Role: all. Scope: block. Order: none. Blocks: no.
  void report_mismatch(int peer, uint64_t got, uint64_t want);

  /// False once a move was cut short because the comm has ended: what this block has done is not
  /// complete. Role: all. Scope: block. Order: none. Blocks: no.
  bool whole() const;

  /// Rests in a loop that polls several words: see WaitContext::idle.
  /// Role: all. Scope: block. Order: none. Blocks: shortly; false when the comm has failed.
  bool idle(int peer, uint64_t index, uint64_t round);

  /// One look at a word. Role: all. Scope: system. Order: acquire. Blocks: no.
  uint64_t load(const uint64_t* word);

  /// Stores a word that peers look at, after every earlier op of this block is complete.
  /// Role: storer. Scope: system. Order: release. Blocks: no.
  void publish(Site site, uint64_t* word, uint64_t value);

  /// Stores a word that only this block uses, between launches too.
  /// Role: one thread. Scope: block. Order: none. Blocks: no.
  void set(uint64_t* word, uint64_t value);

  /// Writes down what call this rank is in, and ends the record that will be overwritten next,
  /// whose `seq` is `next`: a reader that finds a field of that record's new content will not find
  /// its old `seq` afterwards, since a `publish` lies between this and the next record.
  /// Role: storer. Scope: system. Order: release (`seq` last). Blocks: no.
  void record(CallRecord* to, const CallRecord& from, uint64_t* next);

  /// True in the last block of the launch to get here, which then sees the effects of the others.
  /// `finished` is 0 between launches. Role: all. Scope: the rank's device. Order: acq_rel.
  bool last(uint64_t* finished);
};
#endif
// clang-format on

}  // namespace TW_NS

#if defined(__CUDACC__)
#include "tilewire/tile/impl/gpu/block.h"
#else
#include "tilewire/tile/impl/cpu/block.h"
#endif
