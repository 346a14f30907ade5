// One collective call as one block sees it: where things lie in the comm's memory, which signal
// means what, and when memory that peers have read may be written again. Target-independent.
//
// Signals of a call at epoch e
//   packets   word = e << 16 | digest
//   entry     value = e << 16 | digest: "I am in this call" and the first step's data is there
//   in, out   value = e << 16 | step, step >= 1: later steps of a pipeline
//   exit      value = e << 16: "I no longer touch your memory in this call"
// Values only grow; a waiter compares >=. The first thing that a block hears of a peer in a call
// always carries the digest, so calls that differ are noticed before any data is used.
//
// Reuse rule (the only one). Inboxes, slots and own staging exist in two sets; a call at epoch e
// uses set e % 2. Whoever wrote set e % 2 last did so at epoch e - 2, and its readers finished
// reading before they left that call. So: before this block writes at epoch e
//   - into peer p's inbox or slot, or
//   - into own staging that p reads,
// it must know that p has entered epoch e - 1 (then p has left e - 2). It knows when it heard from
// p in epoch e - 1: `BlockState::synced` holds the last epoch in which it heard from every peer.
// After calls in which not every pair talked (broadcast, gather ...) it looks at p's
// `RankControl::entered` instead. `ready` is this rule. Memory within one call has its own proof at
// the pipeline that reuses it.
#pragma once

#include "tilewire/tile/block.h"

namespace TW_NS {

template <class Block>
class Call {
 public:
  TW_FN Call(Block& block, const CollArgs& args)
      : block_(block),
        args_(args),
        epoch_(*args.comm.epoch + 1),
        word_(epoch_ << 16 | args.digest),
        heard_(uint64_t{1} << args.comm.rank) {
    if (block.index() == 0) publish();
  }

  TW_FN Block& block() const { return block_; }
  TW_FN int rank() const { return args_.comm.rank; }
  TW_FN int size() const { return args_.comm.size; }
  TW_FN uint64_t word() const { return word_; }

  /// The i-th peer to talk to, i = 1 .. size - 1: every rank starts with another one.
  TW_FN int peer(int i) const {
    const int p = rank() + i;
    return p < size() ? p : p - size();
  }

  /// This block's part of `count` elements.
  TW_FN Range share(size_t count) const {
    const size_t granule = Target::kGranule / args_.element;
    if (block_.blocks() == 1) return {0, count};
    return part_of({0, count}, block_.index(), block_.blocks(), granule);
  }

  // ---- Addresses: `at` = where this rank writes for a peer, `from` = where it finds a peer's.
  // ----

  TW_FN char* inbox_at(int peer) const {
    return heap(peer) + layout().packet(set(), rank()) + inbox_offset();
  }
  TW_FN char* inbox_from(int peer) const {
    return heap(rank()) + layout().packet(set(), peer) + inbox_offset();
  }
  TW_FN char* slot_at(int peer) const { return heap(peer) + layout().slot(set(), rank()); }
  TW_FN char* slot_from(int peer) const { return heap(rank()) + layout().slot(set(), peer); }

  /// The staging memory that `of` writes in this call and its peers read.
  TW_FN char* staging(int of) const {
    return heap(of) + layout().staging + set() * staging_bytes();
  }
  TW_FN size_t staging_bytes() const { return layout().staging_bytes / 2; }

  // ---- Protocol ----

  /// The reuse rule for `peer`. Role: all. Order: acquire. Blocks: yes.
  TW_FN bool ready(int peer) {
    if (state().synced + 1 >= epoch_) return true;
    const auto* control = reinterpret_cast<const RankControl*>(heap(peer));
    return block_.wait(Site::kEntered, &control->entered, epoch_ - 1, peer, 0);
  }

  /// The reuse rule for every peer.
  TW_FN bool ready_all() {
    for (int i = 1; i < size(); ++i)
      if (!ready(peer(i))) return false;
    return true;
  }

  /// Tells every peer (or one) that step `step` of this rank is done; step 0 is the entry.
  /// Order: release.
  TW_FN void signal_step(uint64_t step) {
    const Step s = at_step(step);
    block_.signal(
        s.site, size() - 1, [&](int i) { return flag_at(s.kind, peer(i + 1)); }, s.value);
  }
  TW_FN void signal_step(uint64_t step, int peer) {
    const Step s = at_step(step);
    block_.signal(
        s.site, 1, [&](int) { return flag_at(s.kind, peer); }, s.value);
  }

  /// Waits for a peer's (every peer's) step. Order: acquire. Blocks: yes.
  TW_FN bool wait_step(uint64_t step, int peer) {
    const Step s = at_step(step);
    const FlagLine* flag = flag_from(s.kind, peer);
    if (step != 0) return block_.wait(s.site, &flag->value, s.value, peer, step);
    heard_ |= uint64_t{1} << peer;
    return block_.wait_digest(s.site, &flag->value, s.value, peer);
  }
  TW_FN bool wait_step(uint64_t step) {
    for (int i = 1; i < size(); ++i)
      if (!wait_step(step, peer(i))) return false;
    return true;
  }

  /// Ends the call in this block; the last block advances the epoch. Not called after a failure.
  TW_FN void close() {
    const uint64_t everyone = ~uint64_t{0} >> (kMaxRanks - size());
    if (heard_ == everyone) state().synced = epoch_;
    if (block_.last(args_.comm.finished)) *args_.comm.epoch = epoch_;
  }

  /// Packets from `peer` were received.
  TW_FN void heard(int peer) { heard_ |= uint64_t{1} << peer; }
  TW_FN void heard_all() { heard_ = ~uint64_t{0} >> (kMaxRanks - size()); }

 private:
  struct Step {
    FlagKind kind;
    Site site;
    uint64_t value;
  };

  TW_FN Step at_step(uint64_t step) const {
    if (step == 0) return {kFlagEntry, Site::kEntry, word_};
    return {kFlagIn, Site::kIn, (epoch_ << 16) + step};
  }

  TW_FN const CommLayout& layout() const { return args_.comm.layout; }
  TW_FN char* heap(int of) const { return args_.comm.heaps[of]; }
  TW_FN int set() const { return static_cast<int>(epoch_ & 1); }
  TW_FN BlockState& state() const { return args_.comm.states[block_.index()]; }

  /// Every block has its own part of an inbox, so that parts are whole packets.
  TW_FN size_t inbox_offset() const {
    const size_t packets = layout().packet_bytes / Target::kPacketBytes;
    return block_.index() * (packets / block_.blocks()) * Target::kPacketBytes;
  }

  TW_FN FlagLine* flag_at(FlagKind kind, int peer) const {
    return reinterpret_cast<FlagLine*>(heap(peer) + layout().flag(kind, block_.index(), rank()));
  }
  TW_FN const FlagLine* flag_from(FlagKind kind, int peer) const {
    return reinterpret_cast<FlagLine*>(heap(rank()) + layout().flag(kind, block_.index(), peer));
  }

  TW_FN void publish() {
    auto* control = reinterpret_cast<RankControl*>(heap(rank()));
    const CallRecord record{epoch_,     args_.call,  args_.reduction.type, args_.reduction.op,
                            args_.root, args_.count, args_.digest};
    block_.record(&control->records[epoch_ % kCallRecords], record);
    block_.publish(Site::kEntered, &control->entered, epoch_);
  }

  Block& block_;
  const CollArgs& args_;
  uint64_t epoch_;
  uint64_t word_;
  uint64_t heard_;  // bit r: this block heard from r in this call
};

}  // namespace TW_NS
