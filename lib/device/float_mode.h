// The floating-point mode in which kernels run.
#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace tw {

/// While it lives, this thread computes as programs begin: rounded to nearest, denormals kept, no
/// exception trapped; then in its own mode again. Results must not depend on who calls, nor on who
/// started a thread. Not needed elsewhere than on x86, where programs do set FTZ and DAZ.
class DefaultFloatMode {
 public:
#if defined(__x86_64__)
  DefaultFloatMode() : own_(_mm_getcsr()) {
    if (__builtin_expect(differs(), 0)) _mm_setcsr(kDefault);
  }
  ~DefaultFloatMode() {
    if (__builtin_expect(differs(), 0)) _mm_setcsr(own_);
  }

 private:
  static constexpr unsigned kDefault = 0x1f80, kRaised = 0x3f;
  bool differs() const { return (own_ & ~kRaised) != kDefault; }
  const unsigned own_;

 public:
#else
  DefaultFloatMode() {}
  ~DefaultFloatMode() {}
#endif
  DefaultFloatMode(const DefaultFloatMode&) = delete;
  DefaultFloatMode& operator=(const DefaultFloatMode&) = delete;
};

}  // namespace tw
