// A signal set inside a tile program: what a user's kernel says to the kernels of its peers.
//
//   Signals<Block> signals(block, args.signals);
//   block.store(peer's part, data, bytes, StorePolicy::kPlain);
//   signals.signal(peer, slot);                       // after the store is complete
//   if (!signals.wait(sender, slot)) return;          // bounded; false: leave at once
//   signals.close();                                  // the last thing a block does
//
// Epochs. In the set's launch number e (from 0), stage k of a slot is the value e << 16 | k. The
// word of a slot at a receiver is written by one sender only, with growing values; a waiter
// compares >=. So nothing is zeroed and no launch needs an argument that another launch did not
// have. `close` counts blocks; the last one advances the epoch. Every block of a launch that opens
// a set closes it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/signal_device.h"
#include "tilewire/tile/block.h"

namespace TW_NS {

template <class Block>
class Signals {
 public:
  /// Opens the set for this block in this launch. Its epoch is read from comm memory.
  /// Role: all. Scope: none. Order: none. Blocks: no.
  TW_FN Signals(Block& block, const tw_signal_view& view)
      : block_(block), view_(view), base_(*view.epoch << kSignalStageBits) {}

  TW_FN int rank() const { return view_.rank; }
  TW_FN int size() const { return view_.size; }

  /// Raises own word of `slot` at `peer` to `stage` (1 to 65535), after every earlier op of this
  /// block is complete and visible to the peer.
  /// Role: storer. Scope: system. Order: release. Blocks: no.
  TW_FN void signal(int peer, size_t slot, uint64_t stage = 1) {
    block_.signal(
        Site::kSignal, 1, [&](int) { return line(peer, view_.rank, slot); }, base_ + stage);
  }

  /// As signal, at every rank, the own one included.
  /// Role: storer. Scope: system. Order: release. Blocks: no.
  TW_FN void signal_all(size_t slot, uint64_t stage = 1) {
    block_.signal(
        Site::kSignal, view_.size, [&](int peer) { return line(peer, view_.rank, slot); },
        base_ + stage);
  }

  /// Waits for `stage` of `sender`. False when the comm has failed: leave the kernel.
  /// Role: all. Scope: system. Order: acquire. Blocks: yes.
  TW_FN bool wait(int sender, size_t slot, uint64_t stage = 1) {
    return block_.wait(word(sender, slot), base_ + stage, sender, slot);
  }

  /// Waits for `stage` of every rank that is not this one.
  /// Role: all. Scope: system. Order: acquire. Blocks: yes.
  TW_FN bool wait_all(size_t slot, uint64_t stage = 1) {
    for (int sender = 0; sender < view_.size; ++sender)
      if (sender != view_.rank && !wait(sender, slot, stage)) return false;
    return true;
  }

  /// Waits until some other rank has reached `stage`; returns the lowest such rank, -1 when the
  /// comm has failed or there is no other rank. Role: all. Scope: system. Order: acquire. Blocks:
  /// yes.
  TW_FN int wait_any(size_t slot, uint64_t stage = 1) {
    if (view_.size == 1) return -1;
    for (uint64_t round = 0;; ++round) {
      for (int sender = 0; sender < view_.size; ++sender)
        if (sender != view_.rank && block_.load(word(sender, slot)) >= base_ + stage) return sender;
      if (!block_.idle(kAnyPeer, slot, round)) return -1;
    }
  }

  /// Every rank's block that uses `slot` has come here; what they stored before is visible.
  /// Role: all. Scope: system. Order: release, then acquire. Blocks: yes.
  TW_FN bool barrier(size_t slot, uint64_t stage = 1) {
    signal_all(slot, stage);
    return wait_all(slot, stage);
  }

  /// Ends this block's use of the set. Not called after a failed wait.
  TW_FN void close() {
    if (block_.last(view_.finished)) block_.set(view_.epoch, (base_ >> kSignalStageBits) + 1);
  }

 private:
  TW_FN FlagLine* line(int receiver, int sender, size_t slot) const {
    return signal_line(view_, receiver, sender, slot);
  }
  TW_FN const uint64_t* word(int sender, size_t slot) const {
    return &line(view_.rank, sender, slot)->value;
  }

  Block& block_;
  const tw_signal_view view_;
  const uint64_t base_;
};

}  // namespace TW_NS
