// A window and a signal set of two thread ranks, over memory laid out by hand: their views.
#pragma once

#include "tests/support/kernel_ranks.h"
#include "tilewire/signal_device.h"
#include "tilewire/window_device.h"

namespace tw::test {

class SignalMemory {
 public:
  static constexpr int kRanks = 2;
  static constexpr size_t kSlots = 4;
  static constexpr size_t kBytes = 4096;

  SignalMemory()
      : world_({.ranks = kRanks,
                .packet_bytes = 64,
                .slot_bytes = 64,
                .staging_bytes = 4096,
                .channel_bytes = 0,
                .window_bytes = 2 * kBytes}) {
    static_assert(kSlots * kRanks * kSignalStride <= kBytes);
    for (int r = 0; r < kRanks; ++r) {
      parts_[r] = world_.window(r);
      words_[r] = world_.window(r) + kBytes;
    }
  }

  tw_window_view window(int rank) {
    return {kCommLayoutVersion, rank, kRanks, parts_, bytes_, world_.view(rank).wait, nullptr};
  }
  tw_signal_view signals(int rank) {
    return {kCommLayoutVersion,
            rank,
            kRanks,
            kSlots,
            words_,
            &own_[rank].epoch,
            &own_[rank].finished,
            world_.view(rank).wait};
  }
  void run(const std::function<void(int)>& body) const { world_.run(body); }

 private:
  struct alignas(128) Own {
    uint64_t epoch = 0;
    uint64_t finished = 0;
  };
  World world_;
  char* parts_[kRanks];
  char* words_[kRanks];
  const size_t bytes_[kRanks] = {kBytes, kBytes};
  Own own_[kRanks];
};

}  // namespace tw::test
