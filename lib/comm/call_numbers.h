// The sequence of a comm's calls on one rank, which is the same on all ranks.
#pragma once

#include <cstdint>

#include "tilewire/tile_device.h"

namespace tw {

/// Used in the caller's thread: a call has its place from when it is made, wherever it runs.
class CallNumbers {
 public:
  /// The next call, with `digest`: from now on it must be launched, before any that comes later.
  /// Digests are chained into `*history`, so that a call in which ranks did not hear of each other,
  /// or one whose 16 bits in the signals are equal by chance (entries compare all 64), is still
  /// found out by the next. Returns the call's number, from 1: the comm's epoch once it is over.
  uint64_t take(uint64_t digest, uint64_t* history) {
    history_ = history_with(digest);
    *history = history_;
    return ++taken_;
  }
  /// The same for a call that runs a tile program.
  uint64_t take(uint64_t digest, TileRecord* record) {
    const uint64_t number = take(digest, &record->history);
    record->digest = signal_digest(record->history);
    return number;
  }
  /// What signals carry of a history.
  static constexpr uint16_t signal_digest(uint64_t history) {
    return static_cast<uint16_t>(history >> 48);
  }

  /// What the next call's history and number would be.
  uint64_t history_with(uint64_t digest) const {
    const uint64_t h = (history_ ^ digest) * UINT64_C(0x9E3779B97F4A7C15);
    return h ^ h >> 32;
  }
  uint64_t next() const { return taken_ + 1; }

  /// Programs have numbers too, from 1, in the order in which the ranks make them.
  uint32_t take_program() { return ++programs_; }

 private:
  uint64_t history_ = 0;  // digest of all calls so far
  uint64_t taken_ = 0;
  uint32_t programs_ = 0;
};

}  // namespace tw
