// Groups and words of the device views on CPUs. Contracts: tile/group.h, signal_device.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tilewire/tile/comm_view.h"
#include "tilewire/tile/impl/cpu/target.h"
#include "tilewire/tile/impl/cpu/vector.h"

namespace TW_NS {

struct ThisThread {
  TW_FN int lane() const { return 0; }
  TW_FN int lanes() const { return 1; }
  TW_FN void sync() const {}
  TW_FN bool all(bool ok) const { return ok; }
  TW_FN uint64_t from_first(uint64_t value) const { return value; }
};
using ThisWarp = ThisThread;
using ThisBlock = ThisThread;

/// The words and waits of one block.
class BlockWords {
 public:
  BlockWords(WaitContext* wait, const char* name, int block)
      : wait_(wait), name_(name), block_(block) {}

  template <class Group>
  TW_FN static void copy(Group /*group*/, void* to, const void* from, size_t bytes) {
    if (bytes != 0) std::memcpy(to, from, bytes);
  }

  template <class Group>
  TW_FN static void store_release(Group /*group*/, uint64_t* word, uint64_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
  }

  TW_FN static uint64_t fetch_add(uint64_t* word, uint64_t value) {
    return __atomic_fetch_add(word, value, __ATOMIC_ACQ_REL);
  }

  TW_FN static uint64_t compare_swap(uint64_t* word, uint64_t expected, uint64_t desired) {
    __atomic_compare_exchange_n(word, &expected, desired, false, __ATOMIC_ACQ_REL,
                                __ATOMIC_ACQUIRE);
    return expected;
  }

  template <class Group>
  TW_FN bool wait(Group /*group*/, const uint64_t* word, uint64_t want, int peer, size_t index) {
    for (int spin = 0; spin < wait_->spins; ++spin) {
      if (load(word) >= want) return true;
      pause();
    }
    if (load(word) >= want) return true;
    const WaitSite site{name_, peer, block_, index};
    return wait_->slow(wait_, &site, word, want);
  }

  /// The first rank but `self` whose word(rank) is at least `want`; -1 when the comm has failed.
  template <class Group, class Word>
  TW_FN int wait_any(Group /*group*/, int ranks, int self, Word word, uint64_t want, size_t index) {
    for (uint64_t round = 0;; ++round) {
      for (int rank = 0; rank < ranks; ++rank)
        if (rank != self && load(word(rank)) >= want) return rank;
      pause();
      const uint64_t spins = static_cast<uint64_t>(wait_->spins);
      if (round < spins) continue;
      const WaitSite site{name_, kAnyPeer, block_, index};
      if (!wait_->idle(wait_, &site, round - spins)) return -1;
    }
  }

  /// True in the last of `blocks` blocks to come here, which then sees what the others did.
  TW_FN static bool last(uint64_t* finished, int blocks) {
    if (blocks == 1) return true;
    if (__atomic_add_fetch(finished, 1, __ATOMIC_ACQ_REL) != static_cast<uint64_t>(blocks))
      return false;
    __atomic_store_n(finished, 0, __ATOMIC_RELAXED);
    return true;
  }

  TW_FN static void set(uint64_t* word, uint64_t value) { *word = value; }

 private:
  TW_FN static uint64_t load(const uint64_t* word) {
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
  }

  WaitContext* wait_;
  const char* name_;
  int block_;
};

}  // namespace TW_NS
