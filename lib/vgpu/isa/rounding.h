// PTX's rounding modes and .ftz by the host's own: set around one op.
#pragma once

#include <xmmintrin.h>

#include <cstdint>

#include "lib/vgpu/isa/floats.h"
#include "lib/vgpu/sim/op.h"

namespace tw::vgpu {

/// Op::rounding: a Rounding, plus these.
inline constexpr uint8_t kFlush = 4;     // .ftz
inline constexpr uint8_t kSaturate = 8;  // .sat: to [0, 1], NaN to 0

/// MXCSR with `rounding` while it lives.
class RoundingMode {
 public:
  explicit RoundingMode(uint8_t rounding) : saved_(_mm_getcsr()) {
    constexpr uint32_t kModes[] = {0x0000, 0x6000, 0x2000, 0x4000};
    constexpr uint32_t kFlushBits = 0x8040;  // flush to zero, denormals are zero
    _mm_setcsr((saved_ & ~(0x6000u | kFlushBits)) | kModes[rounding & 3] |
               ((rounding & kFlush) != 0 ? kFlushBits : 0));
  }
  ~RoundingMode() { _mm_setcsr(saved_); }
  RoundingMode(const RoundingMode&) = delete;
  RoundingMode& operator=(const RoundingMode&) = delete;

 private:
  uint32_t saved_;
};

/// Executes `run` in the op's mode. The call through a pointer keeps the compiler from moving
/// arithmetic out of it.
inline Step run_rounded(Run run, Warp& warp, const Op& op) {
  const RoundingMode mode(op.rounding);
  const volatile Run hidden = run;
  return hidden(warp, op);
}

template <Run kRun>
Step rounded(Warp& warp, const Op& op) {
  return run_rounded(kRun, warp, op);
}

}  // namespace tw::vgpu
