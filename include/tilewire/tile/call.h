// One collective call as one block sees it: where things lie in the comm's memory, which signal
// means what, and when memory that peers have read may be written again. Target-independent.
//
// Signals of a call at epoch e
//   packets   word = e << kDigestBits | digest
//   entry     value = e << kDigestBits | digest: "I am in this call" and the first step's data is
//             there
//   in, out   value = e << kStepBits | step, 1 <= step <= kMaxSteps: later steps of a pipeline;
//   `in`
//             says that data is there, `out` that data was used
//   exit      value = e: "I no longer touch your memory in this call"
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
// On targets whose packets order only their own payload, packets count for the inboxes alone, which
// are accessed by packets only: `BlockState::heard`, and `inbox_ready` is the rule for inboxes.
// After calls in which not every pair talked (broadcast, gather ...) it looks at p's
// `RankControl::entered` instead. `ready` is this rule. Memory within one call has its own proof at
// the pipeline that reuses it.
#pragma once

#include "tilewire/tile/block.h"

namespace TW_NS {

/// For `talks`: every peer.
struct AnyPeer {
  TW_FN bool operator()(int /*peer*/) const { return true; }
};

template <class Block>
class Call {
 public:
  /// Opens the call in this block; block 0 tells the peers that the rank has come to it.
  /// Role: all. Scope: system. Order: release. Blocks: no.
  TW_FN Call(Block& block, const CollArgs& args)
      : block_(block),
        args_(args),
        epoch_(*args.comm.epoch + 1),
        heard_(uint64_t{1} << args.comm.rank),
        synced_(heard_) {
    if (block.index() == 0) publish();
  }

  TW_FN Block& block() const { return block_; }
  TW_FN int rank() const { return args_.comm.rank; }
  TW_FN int size() const { return args_.comm.size; }
  /// What entries and packets of this call carry: its epoch and digest.
  TW_FN uint64_t word() const { return epoch_ << kDigestBits | args_.digest; }

  /// The i-th peer to send to and to receive from, i = 1 .. size - 1: at any time every rank is
  /// busy with another one, and what arrives first is taken first.
  TW_FN int peer(int i) const { return wrapped(rank() + i); }
  TW_FN int source(int i) const { return wrapped(rank() + size() - i); }

  /// This block's part of a range, cut at multiples of `granule` from its begin. Both ends of a
  /// transfer cut the same range in the same way.
  TW_FN Range share(Range range, size_t granule) const {
    if (block_.blocks() == 1) return range;
    return part_of(range, block_.index(), block_.blocks(), granule);
  }

  /// An empty message is one packet, sent by block 0; the other blocks' empty parts are none.
  TW_FN bool silent(Range part) const { return part.empty() && block_.index() != 0; }

  // ---- Addresses: `at` = where this rank writes for a peer, `from` = where it finds a peer's.
  // `offset`: bytes into the message. ----

  /// Packets: a place in the peer's inbox, and in the own one.
  TW_FN char* inbox_at(int peer, size_t offset) const {
    return heap(peer) + layout().packet(set(), rank()) + framed(offset);
  }
  TW_FN char* inbox_from(int peer, size_t offset) const {
    return heap(rank()) + layout().packet(set(), peer) + framed(offset);
  }
  /// Calls of one kind come in rows: the next is taken to put as much into the same inbox, of the
  /// other set, whose packets the peer has taken (it has come to this call).
  TW_FN void expect_packets(int peer, size_t offset, size_t bytes) {
    block_.expect_store(heap(peer) + layout().packet(1 - set(), rank()) + framed(offset),
                        framed(bytes) + Target::kPacketBytes);
  }

  /// The slot of this rank at `peer`, and of `peer` here.
  TW_FN char* slot_at(int peer) const { return heap(peer) + layout().slot(set(), rank()); }
  TW_FN char* slot_from(int peer) const { return heap(rank()) + layout().slot(set(), peer); }

  /// The staging memory that `of` writes in this call and its peers read.
  TW_FN char* staging(int of) const {
    return heap(of) + layout().staging + set() * staging_bytes();
  }
  TW_FN size_t staging_bytes() const { return staging_set_bytes(layout(), Target::kGranule); }

  /// Window memory of `of`, by location.
  TW_FN char* window(int of, uint64_t location) const {
    return window_memory(args_.comm, of, location);
  }

  /// One address for what lies at slot_at(peer, for every peer), or at a location that is the same
  /// on all ranks, in every rank's memory; null where there is none.
  TW_FN char* slot_everywhere() const {
    char* area = segment_everywhere(0);
    return area == nullptr ? nullptr : area + layout().slot(set(), rank());
  }
  TW_FN char* window_everywhere(uint64_t location) const {
    char* segment = segment_everywhere(location_segment(location));
    return segment == nullptr ? nullptr : segment + location_offset(location);
  }

  // ---- Protocol ----

  /// The reuse rule for `peer`. Role: all. Order: acquire. Blocks: yes.
  TW_FN bool ready(int peer) { return state().synced + 1 >= epoch_ || has_entered(peer); }
  /// The reuse rule for the inbox of `peer`.
  TW_FN bool inbox_ready(int peer) {
    if constexpr (Target::kPacketsOrder) return ready(peer);
    return state().heard + 1 >= epoch_ || has_entered(peer);
  }

  /// The same for all peers.
  TW_FN bool ready_all() {
    if (state().synced + 1 >= epoch_) return true;
    return block_.wait_all(
        size() - 1, [&](int i) { return &control(peer(i + 1)).entered; }, epoch_ - 1,
        [&](int i) { return peer(i + 1); }, 0);
  }

  /// Enters the call at the peers that this rank talks to, with what they need to know:
  /// payload(peer). They must `leave` us later. Waits for the same of them.
  template <class Talks, class Payload>
  TW_FN void enter(Talks talks, Payload payload) {
    block_.signal(
        Site::kEntry, size() - 1, [&](int i) { return flag_to(kFlagEntry, peer(i + 1), talks); },
        word(), [&](int i) { return payload(peer(i + 1)); });
  }
  template <class Talks>
  TW_FN bool wait_entered(Talks talks) {
    for (int i = 1; i < size(); ++i)
      // NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): peers are below
      // kMaxRanks
      if (talks(peer(i))) synced_ |= uint64_t{1} << peer(i);
    return block_.wait_digest_all(
        size() - 1, [&](int i) { return word_from(kFlagEntry, source(i + 1), talks); }, word(),
        [&](int i) { return source(i + 1); });
  }
  /// True when `peer` entered the same call, after the same calls, in all 64 bits; else the
  /// mismatch is reported.
  TW_FN bool entered_alike(int peer) {
    if (entry(peer).history == args_.history) return true;
    block_.report_mismatch(peer, entry(peer).history, args_.history);
    return false;
  }
  /// What `peer` entered with. Valid from wait_step(0, peer) to leave(peer).
  TW_FN const FlagLine& entry(int peer) const { return *flag_from(kFlagEntry, peer); }

  /// Tells a peer (every peer) that step `step` of this rank is done; step 0 is the entry without a
  /// payload. Order: release.
  TW_FN void signal_step(uint64_t step, int peer) {
    const Step s = at_step(step);
    block_.signal(
        s.site, 1, [&](int) { return flag_at(s.kind, peer); }, s.value);
  }
  TW_FN void signal_step(uint64_t step) {
    const Step s = at_step(step);
    block_.signal(
        s.site, size() - 1, [&](int i) { return flag_at(s.kind, peer(i + 1)); }, s.value);
  }

  /// Waits for a peer's (every peer's) step. Order: acquire. Blocks: yes.
  TW_FN bool wait_step(uint64_t step, int peer) {
    const Step s = at_step(step);
    const FlagLine* flag = flag_from(s.kind, peer);
    if (step != 0) return block_.wait(&flag->value, s.value, peer, step);
    synced_ |= uint64_t{1} << peer;
    return block_.wait_digest(&flag->value, s.value, peer);
  }
  TW_FN bool wait_step(uint64_t step) {
    if (step == 0) return wait_entered(AnyPeer());
    return wait_all(kFlagIn, at_step(step).value, AnyPeer(), step);
  }

  /// The second kind of step: what is done with the peers' data of step `step` >= 1.
  TW_FN void signal_done(uint64_t step, int peer) {
    block_.signal(
        Site::kOut, 1, [&](int) { return flag_at(kFlagOut, peer); }, at_step(step).value);
  }
  TW_FN void signal_done(uint64_t step) {
    block_.signal(
        Site::kOut, size() - 1, [&](int i) { return flag_at(kFlagOut, peer(i + 1)); },
        at_step(step).value);
  }
  TW_FN bool wait_done(uint64_t step, int peer) {
    return block_.wait(&flag_from(kFlagOut, peer)->value, at_step(step).value, peer, step);
  }
  TW_FN bool wait_done(uint64_t step) {
    return wait_all(kFlagOut, at_step(step).value, AnyPeer(), step);
  }

  /// Tells the peers that this rank talks to that this block no longer touches their memory, that
  /// what it wrote there is complete, and that their entries were read; waits for the same.
  /// Order: release, acquire.
  template <class Talks>
  TW_FN void leave(Talks talks) {
    block_.signal(
        Site::kExit, size() - 1, [&](int i) { return flag_to(kFlagExit, peer(i + 1), talks); },
        epoch_);
  }
  template <class Talks>
  TW_FN bool wait_left(Talks talks) {
    return wait_all(kFlagExit, epoch_, talks, 0);
  }

  /// Ends the call in this block; the last block advances the epoch. Not called after a failure.
  TW_FN void close() {
    if (!block_.whole()) return;
    if constexpr (Target::kPacketsOrder) {
      if ((synced_ | heard_) == everyone()) block_.set(&state().synced, epoch_);
    } else {
      if (synced_ == everyone()) block_.set(&state().synced, epoch_);
      if ((synced_ | heard_) == everyone()) block_.set(&state().heard, epoch_);
    }
    if (block_.last(args_.comm.finished)) block_.set(args_.comm.epoch, epoch_);
  }

  /// A packet of this call came from `peer` (every peer).
  TW_FN void heard(int peer) { heard_ |= uint64_t{1} << peer; }
  TW_FN void heard_all() { heard_ = everyone(); }

 private:
  struct Step {
    FlagKind kind;
    Site site;
    uint64_t value;
  };

  TW_FN Step at_step(uint64_t step) const {
    if (step == 0) return {kFlagEntry, Site::kEntry, word()};
    return {kFlagIn, Site::kIn, (epoch_ << kStepBits) + step};
  }

  TW_FN const CommLayout& layout() const { return args_.comm.layout; }
  TW_FN char* heap(int of) const { return args_.comm.heaps[of]; }
  TW_FN int set() const { return static_cast<int>(epoch_ & 1); }
  TW_FN BlockState& state() const { return args_.comm.states[block_.index()]; }

  TW_FN char* segment_everywhere(uint64_t segment) const {
    return args_.comm.multicasts == nullptr ? nullptr : args_.comm.multicasts[segment];
  }

  TW_FN int wrapped(int r) const { return r < size() ? r : r - size(); }
  TW_FN uint64_t everyone() const { return ~uint64_t{0} >> (kMaxRanks - size()); }

  /// Where byte `offset` of a message, a multiple of a packet's payload, lies in an inbox.
  TW_FN static size_t framed(size_t offset) {
    return offset / Target::kPacketPayload * Target::kPacketBytes;
  }

  TW_FN FlagLine* flag_at(FlagKind kind, int peer) const {
    return reinterpret_cast<FlagLine*>(heap(peer) + layout().flag(kind, block_.index(), rank()));
  }
  TW_FN const FlagLine* flag_from(FlagKind kind, int peer) const {
    return reinterpret_cast<FlagLine*>(heap(rank()) + layout().flag(kind, block_.index(), peer));
  }

  TW_FN RankControl& control(int of) const { return *reinterpret_cast<RankControl*>(heap(of)); }

  TW_FN bool has_entered(int peer) {
    return block_.wait(&control(peer).entered, epoch_ - 1, peer, 0);
  }

  template <class Talks>
  TW_FN FlagLine* flag_to(FlagKind kind, int peer, Talks talks) const {
    return talks(peer) ? flag_at(kind, peer) : nullptr;
  }
  template <class Talks>
  TW_FN const uint64_t* word_from(FlagKind kind, int peer, Talks talks) const {
    return talks(peer) ? &flag_from(kind, peer)->value : nullptr;
  }
  template <class Talks>
  TW_FN bool wait_all(FlagKind kind, uint64_t value, Talks talks, uint64_t index) {
    return block_.wait_all(
        size() - 1, [&](int i) { return word_from(kind, source(i + 1), talks); }, value,
        [&](int i) { return source(i + 1); }, index);
  }

  TW_FN void publish() {
    CallRecord record{
        epoch_,
        args_.call,
        static_cast<uint32_t>(args_.reduction.type),
        static_cast<uint32_t>(args_.reduction.op) + (args_.reduction.scaled ? kScaledRecord : 0),
        args_.root,
        args_.count,
        args_.history,
        0,
        {}};
    const size_t* counts = args_.call == kAllGatherV       ? args_.recv_counts
                           : args_.call == kReduceScatterV ? args_.send_counts
                                                           : nullptr;
    const int parts = counts == nullptr ? 0 : size() < kRecordParts ? size() : kRecordParts;
    record.parts = static_cast<uint32_t>(parts);
    for (int r = 0; r < kRecordParts; ++r)  // known bounds: registers on GPUs
      record.part[r] = r < parts ? static_cast<uint32_t>(counts[r]) : 0;
    CallRecord* const records = control(rank()).records;
    block_.record(&records[epoch_ % kCallRecords], record,
                  &records[(epoch_ + 1) % kCallRecords].seq);
    block_.publish(Site::kEntered, &control(rank()).entered, epoch_);
  }

  Block& block_;
  const CollArgs& args_;
  uint64_t epoch_;
  uint64_t heard_;   // bit r: this block got a packet of this call from r
  uint64_t synced_;  // bit r: it saw a signal of this call from r
};

}  // namespace TW_NS
