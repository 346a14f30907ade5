// Signals as kernels and other device code see them: tw_signals_get_view gives the view by value.
//
// A set has `slots` words per (receiver, sender). In launch number e of the set (its epoch) stage k
// of a slot is the value e << 16 | k, so values only grow, nothing is ever zeroed, and a kernel
// launched again needs no new arguments. The epoch lies in comm memory; the last block of a launch
// advances it (`close`). All ranks launch equally often. A slot is used by one block of each rank,
// or by blocks that agree on its stages.
//
// A tile program uses tilewire/tile/signals.h, which stands on the same words. OpenSignals below is
// for plain CUDA kernels and plain C++ on CPUs (groups: tilewire/tile/group.h):
//
//     namespace dev = tw::device;
//     dev::OpenSignals signals(args.signals, block, blocks, "my_kernel");
//     signals.put_signal(dev::ThisBlock(), args.window, peer, offset, data, bytes, slot);
//     if (!signals.wait(dev::ThisBlock(), sender, slot)) return;  // failed: leave at once
//     signals.close();
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tilewire/tile/comm_view.h"
#include "tilewire/tile/group.h"
#include "tilewire/window_device.h"

extern "C" {

/// By value into kernels. Valid while the signal set lives.
typedef struct tw_signal_view {  // NOLINT(modernize-use-using): a C name
  uint32_t version;              // kCommLayoutVersion
  int rank;
  int size;
  size_t slots;
  char* const* words;  // [size]: each rank's words as mapped by this device
  uint64_t* epoch;     // launches that used the set
  uint64_t* finished;  // blocks of the running launch that are done
  struct tw::WaitContext* wait;
} tw_signal_view;
}

static_assert(std::is_trivially_copyable_v<tw_signal_view> &&
              std::is_standard_layout_v<tw_signal_view> && sizeof(tw_signal_view) == 56);

namespace tw {

/// Bytes between words: each has its line.
inline constexpr size_t kSignalStride = sizeof(FlagLine);
/// Bits of a word below the epoch: stages are 1 to 2^16 - 1.
inline constexpr int kSignalStageBits = 16;

/// Offset of the line of (slot, sender) in a receiver's words. The only place that says where.
constexpr size_t signal_offset(size_t slot, int sender, int ranks) {
  return (slot * static_cast<size_t>(ranks) + static_cast<size_t>(sender)) * kSignalStride;
}

}  // namespace tw

namespace TW_NS {

/// The line of (slot, sender) at `receiver`.
/// Role: all. Scope: none. Order: none. Blocks: no.
TW_FN FlagLine* signal_line(const tw_signal_view& view, int receiver, int sender, size_t slot) {
  return reinterpret_cast<FlagLine*>(view.words[receiver] + signal_offset(slot, sender, view.size));
}

/// One block's use of a signal set in one launch. On GPUs all threads of the block make it, and all
/// call `close`. Ops on a slot or rank that does not exist do nothing and return false (-1).
class OpenSignals {
 public:
  /// `blocks` blocks of this rank open the set in this launch, `block` is one of them. `name` is
  /// for messages, and outlives the launch.
  TW_FN OpenSignals(const tw_signal_view& view, int block, int blocks, const char* name)
      : view_(view), words_(view.wait, name, block), blocks_(blocks), epoch_(*view.epoch) {}

  /// Number of the set's launches that are done.
  TW_FN uint64_t epoch() const { return epoch_; }

  /// Raises own word of `slot` at `peer` to `stage`, after the group's earlier accesses.
  /// Role: the group. Scope: system. Order: release. Blocks: no.
  template <class Group>
  TW_FN bool signal(Group group, int peer, size_t slot, uint64_t stage = 1) {
    if (!has(peer, slot)) return false;
    words_.store_release(group, &signal_line(view_, peer, view_.rank, slot)->value, value(stage));
    return true;
  }

  /// put, then signal. When the range is not in the window: neither.
  /// Role: the group. Scope: system. Order: release. Blocks: no.
  template <class Group>
  TW_FN bool put_signal(Group group, const tw_window_view& to, int peer, size_t offset,
                        const void* src, size_t bytes, size_t slot, uint64_t stage = 1) {
    return has(peer, slot) && put(group, to, peer, offset, src, bytes) &&
           signal(group, peer, slot, stage);
  }

  /// Waits for `stage` of `sender`'s word of `slot`. False when the comm has failed.
  /// Role: the group. Scope: system. Order: acquire. Blocks: yes.
  template <class Group>
  TW_FN bool wait(Group group, int sender, size_t slot, uint64_t stage = 1) {
    return has(sender, slot) && words_.wait(group, word(sender, slot), value(stage), sender, slot);
  }

  /// Waits for `stage` of every other rank. False when the comm has failed.
  /// Role: the group. Scope: system. Order: acquire. Blocks: yes.
  template <class Group>
  TW_FN bool wait_all(Group group, size_t slot, uint64_t stage = 1) {
    for (int sender = 0; sender < view_.size; ++sender)
      if (sender != view_.rank && !wait(group, sender, slot, stage)) return false;
    return true;
  }

  /// Waits until some other rank has reached `stage`: returns one that has, -1 when the comm has
  /// failed or there is no other rank.
  /// Role: the group. Scope: system. Order: acquire. Blocks: yes.
  template <class Group>
  TW_FN int wait_any(Group group, size_t slot, uint64_t stage = 1) {
    if (view_.size == 1 || slot >= view_.slots) return -1;
    return words_.wait_any(
        group, view_.size, view_.rank, [&](int sender) { return word(sender, slot); }, value(stage),
        slot);
  }

  /// Barrier number `slot` of the groups that call it, one of each rank: returns when all have
  /// come; what they stored before is visible. A slot serves again with the next stage.
  /// Role: the group. Scope: system. Order: release, then acquire. Blocks: yes.
  template <class Group>
  TW_FN bool barrier(Group group, size_t slot, uint64_t stage = 1) {
    for (int peer = 0; peer < view_.size; ++peer)
      if (peer != view_.rank && !signal(group, peer, slot, stage)) return false;
    return wait_all(group, slot, stage);
  }

  /// Ends this block's use of the set; the last block advances the epoch. Not after a failed wait.
  /// Role: the whole block. Scope: device. Order: acq_rel. Blocks: no.
  TW_FN void close() {
    if (words_.last(view_.finished, blocks_)) words_.set(view_.epoch, epoch_ + 1);
  }

 private:
  TW_FN bool has(int rank, size_t slot) const {
    return rank >= 0 && rank < view_.size && slot < view_.slots;
  }
  TW_FN uint64_t value(uint64_t stage) const { return epoch_ << kSignalStageBits | stage; }
  TW_FN const uint64_t* word(int sender, size_t slot) const {
    return &signal_line(view_, view_.rank, sender, slot)->value;
  }

  const tw_signal_view view_;
  BlockWords words_;
  const int blocks_;
  const uint64_t epoch_;
};

}  // namespace TW_NS
