// A small generator whose numbers a seed replays on every machine (xoshiro256** by Blackman and
// Vigna, seeded by splitmix64; public domain algorithms).
#pragma once

#include <cstdint>

namespace tw::vgpu {

class Random {
 public:
  explicit Random(uint64_t seed) {
    for (uint64_t& word : state_) {
      seed += 0x9e3779b97f4a7c15;
      uint64_t mixed = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9;
      mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
      word = mixed ^ (mixed >> 31);
    }
  }
  uint64_t next() {
    const uint64_t result = rotate(state_[1] * 5, 7) * 9;
    const uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = rotate(state_[3], 45);
    return result;
  }
  /// 0 to limit - 1. limit >= 1 and at most 2^32.
  uint32_t below(uint64_t limit) { return static_cast<uint32_t>(((next() >> 32) * limit) >> 32); }

 private:
  static uint64_t rotate(uint64_t value, int by) { return (value << by) | (value >> (64 - by)); }
  uint64_t state_[4];
};

}  // namespace tw::vgpu
