// Points in time after which waiting ends.
#pragma once

#include <time.h>

#include <cstdint>

namespace tw {

/// CLOCK_MONOTONIC in nanoseconds.
inline int64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

class Deadline {
 public:
  /// `timeout_ms` from now; 0 = never, as is what no clock will reach.
  explicit Deadline(int64_t timeout_ms) : timeout_ms_(timeout_ms) {
    const int64_t now = now_ns();
    const bool reachable = timeout_ms != 0 && timeout_ms < (INT64_MAX - now) / 1000000;
    at_ns_ = reachable ? now + timeout_ms * 1000000 : INT64_MAX;
  }

  bool passed() const { return at_ns_ != INT64_MAX && now_ns() >= at_ns_; }
  bool never() const { return at_ns_ == INT64_MAX; }
  int64_t timeout_ms() const { return timeout_ms_; }
  int64_t at_ns() const { return at_ns_; }

  /// Milliseconds left, rounded up, within [0, cap]: for poll().
  int remaining_ms(int cap = 1000000000) const {
    if (at_ns_ == INT64_MAX) return cap;
    const int64_t left = (at_ns_ - now_ns() + 999999) / 1000000;
    return left < 0 ? 0 : left > cap ? cap : static_cast<int>(left);
  }

 private:
  int64_t timeout_ms_;
  int64_t at_ns_;
};

}  // namespace tw
