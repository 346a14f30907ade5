// One launch of a tile program as one block sees it: peers' memory, signals between tiles, and the
// rule of reuse. Target-independent.
//
// Protocol of a launch at epoch e (the set's or the comm's counter + 1)
//   entry   block 0 of every rank, first thing: a FlagLine at each peer, value e << kDigestBits |
//           digest (release). It says: "what you stored for me before is used, and my windows at
//           these places may be written".
//   meet    a block waits for the entries of all peers (acquire): before it first stores to
//           one, and in any case before it ends.
//   signal  after a tile is stored: own word of the tile's slot at the receiver = e (release).
//   wait    the receiver waits for word >= e (acquire) before it reads what was stored.
//
// Reuse (the only rule): a block stores to a peer only after `meet`. A peer enters launch e when
// its launch of the set before is over, all its blocks included, so nothing of it reads what was
// stored then any more; and its words are less than e, so nobody takes old data for new. Hence
// memory for peers' data exists once and is never cleared.
// Entries exist twice and alternate from launch to launch of the set: a peer writes a line again
// when it enters the launch after the next one, after the next one, in which it met everybody: so
// nobody reads lines of this one any more. (By number of the launch, not by e: a comm's other
// calls, between launches, need not meet everybody.)
// A program must wait for everything that peers signal to it, so that it does not end before its
// results are complete.
// Launches that differ in their digests are a mismatch, found in `meet`: before data is stored.
#pragma once

#include "tilewire/tile/tile_block.h"

namespace TW_NS {

template <class Block>
class TileCall {
 public:
  /// Opens the launch; block 0 enters it at the peers.
  /// Role: storer. Scope: system. Order: release. Blocks: no.
  TW_FN TileCall(Block& block, const tw_tile_view& view, At at = At::here())
      : block_(block),
        view_(view),
        epoch_(*view.epoch + 1),
        launch_(view.counters->launches),
        met_(size() == 1) {
    if (block.index() == 0) enter(at);
  }

  TW_FN int rank() const { return view_.comm.rank; }
  TW_FN int size() const { return view_.comm.size; }
  /// What words of this launch are raised to.
  TW_FN uint64_t epoch() const { return epoch_; }

  /// The i-th other rank, i = 1 .. size - 1, in turn from the own number, so that at any time every
  /// rank is busy with another one.
  TW_FN int peer(int i) const {
    const int r = rank() + i;
    return r < size() ? r : r - size();
  }

  // ---- Memory ----

  /// Byte `offset` of `of`'s data in the set.
  TW_FN char* data(int of, size_t offset = 0) const {
    return view_.parts[of] + view_.layout.data + offset;
  }
  /// One address for data(r, offset) of every rank r, or null.
  TW_FN char* data_everywhere(size_t offset) const {
    return view_.everywhere == nullptr ? nullptr : view_.everywhere + view_.layout.data + offset;
  }
  /// Row 0 of the matrix that the peer lets others write (tw_tile_view::out[i]), as mapped here;
  /// without data when it is private memory. After `meet`.
  TW_FN Matrix out_of(int peer, int i, tw_type_t type) const {
    const FlagLine& entry = *entry_at(rank(), peer);
    const uint64_t at = i == 0 ? entry.recv_at : entry.send_at;
    const uint64_t stride = i == 0 ? entry.bytes : entry.factor;
    return {at == 0 ? nullptr : window_memory(view_.comm, peer, at), stride, type};
  }

  // ---- Protocol ----

  /// Waits for every peer's entry, once a block: before the first store to a peer.
  /// Role: consumer and storer. Scope: system. Order: acquire. Blocks: yes.
  TW_FN void meet(At at = At::here()) {
    if (met_) return;
    met_ = true;
    block_.meet(
        at, size() - 1, [&](int i) { return &entry_at(rank(), peer(i + 1))->value; }, entry_word(),
        [&](int i) { return peer(i + 1); });
    if (!block_.ok()) return;
    for (int i = 1; i < size(); ++i) {
      const FlagLine& entry = *entry_at(rank(), peer(i));
      if (entry.history != view_.record.history)
        return block_.report_mismatch(peer(i), entry.history, view_.record.history);
    }
  }

  /// Raises own word of `slot` at `to` (which may be the own rank), after all that this block
  /// stored before. Role: storer. Scope: system. Order: release. Blocks: no.
  TW_FN void signal(int to, size_t slot, At at = At::here()) {
    block_.signal(
        at, 1, [&](int) { return word_at(to, rank(), slot); }, epoch_);
  }
  /// The same at every rank, the own one included.
  TW_FN void signal_all(size_t slot, At at = At::here()) {
    block_.signal(
        at, size(), [&](int i) { return word_at(i == 0 ? rank() : peer(i), rank(), slot); },
        epoch_);
  }

  /// The same at each rank r for which those(r).
  template <class Those>
  TW_FN void signal_those(size_t slot, Those those, At at = At::here()) {
    block_.signal(
        at, size(), [&](int r) { return those(r) ? word_at(r, rank(), slot) : nullptr; }, epoch_);
  }

  /// Own word of `slot` at `to`, for TileBlock::raise.
  TW_FN uint64_t* word(int to, size_t slot) const { return word_at(to, rank(), slot); }

  /// When what `sender` signals with `slot` may be read: for OperandAt::after and copy_all.
  TW_FN Ready when(int sender, size_t slot, At at = At::here()) const {
    return {word_at(rank(), sender, slot), epoch_, sender, slot, at};
  }
  /// Role: consumer. Scope: system. Order: acquire. Blocks: yes.
  TW_FN void wait(int sender, size_t slot, At at = At::here()) {
    block_.wait(at, when(sender, slot, at));
  }
  /// The same for slots first .. first + n - 1.
  TW_FN void wait_slots(int sender, size_t first, uint32_t n, At at = At::here()) {
    block_.wait_all(at, n, [&](uint32_t i) { return when(sender, first + i, at); });
  }
  /// Waits for every other rank's signal, and for every rank's.
  TW_FN void wait_peers(size_t slot, At at = At::here()) {
    block_.wait_all(at, static_cast<uint32_t>(size() - 1),
                    [&](uint32_t i) { return when(peer(static_cast<int>(i) + 1), slot, at); });
  }
  TW_FN void wait_all(size_t slot, At at = At::here()) {
    block_.wait_all(at, static_cast<uint32_t>(size()),
                    [&](uint32_t i) { return when(peer(static_cast<int>(i)), slot, at); });
  }

  /// Ends the launch in this block; the last block advances the epoch.
  TW_FN void close(At at = At::here()) {
    meet(at);
    block_.finish(view_.counters, view_.epoch, epoch_);
  }

 private:
  TW_FN uint64_t entry_word() const { return epoch_ << kDigestBits | view_.record.digest; }
  TW_FN FlagLine* entry_at(int receiver, int sender) const {
    return reinterpret_cast<FlagLine*>(view_.parts[receiver] + view_.layout.entry(launch_, sender));
  }
  TW_FN uint64_t* word_at(int receiver, int sender, size_t slot) const {
    return reinterpret_cast<uint64_t*>(view_.parts[receiver] + view_.layout.word(sender, slot));
  }

  TW_FN void enter(At at) {
    if (view_.record.call != kNoCall) announce();
    if (size() == 1) return;
    const EntryPayload payload{view_.out[1].at, view_.out[0].at, view_.out[1].stride,
                               view_.out[0].stride, view_.record.history};
    block_.enter(
        at, size() - 1, [&](int i) { return entry_at(peer(i + 1), rank()); }, entry_word(),
        [&](int) { return payload; });
  }

  TW_FN void announce() {
    const TileRecord& r = view_.record;
    const CallRecord record{epoch_,    r.call, static_cast<uint32_t>(r.type),
                            TW_SUM,    -1,     0,
                            r.history, 3,      {r.size[0], r.size[1], r.size[2], 0, 0}};
    RankControl& control = *reinterpret_cast<RankControl*>(view_.comm.heaps[rank()]);
    block_.announce(At::here(), &control.records[epoch_ % kCallRecords], record,
                    &control.records[(epoch_ + 1) % kCallRecords].seq, &control.entered, epoch_);
  }

  Block& block_;
  const tw_tile_view& view_;
  const uint64_t epoch_;
  const uint64_t launch_;  // number of this launch of the set, from 0
  bool met_;
};

}  // namespace TW_NS
