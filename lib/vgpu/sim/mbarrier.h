// The 64-bit word of an mbarrier, in a format of our own.
#pragma once

#include <cstdint>

namespace tw::vgpu {

struct Block;
struct Warp;

inline constexpr uint32_t kMostArrivals = (1 << 20) - 1;

struct Mbarrier {
  bool phase = false;     // the parity of the current phase
  uint32_t expected = 0;  // arrivals of a phase
  uint32_t pending = 0;   // arrivals that are missing
  int32_t bytes = 0;      // of transactions that are missing; may be negative for a while

  /// The word; `pack(unpack(w)) == w` for words of initialised barriers.
  uint64_t pack() const {
    return uint64_t{phase} << 63 | uint64_t{1} << 62 | uint64_t{expected} << 42 |
           uint64_t{pending} << 22 | (static_cast<uint32_t>(bytes) & 0x3fffff);
  }
  /// False when the word is that of no initialised barrier.
  static bool unpack(uint64_t word, Mbarrier* barrier) {
    barrier->phase = word >> 63 & 1;
    barrier->expected = word >> 42 & kMostArrivals;
    barrier->pending = word >> 22 & kMostArrivals;
    barrier->bytes = static_cast<int32_t>(static_cast<uint32_t>(word) << 10) >> 10;
    return (word >> 62 & 1) != 0 && barrier->expected > 0 && barrier->pending <= barrier->expected;
  }
  /// Starts the next phase when nothing is missing.
  void advance() {
    if (pending != 0 || bytes != 0) return;
    phase = !phase;
    pending = expected;
  }
};

/// Takes `bytes` off what the barrier at `word` waits for. False when there is no barrier.
bool complete_transaction(uint64_t* word, uint32_t bytes);

}  // namespace tw::vgpu
