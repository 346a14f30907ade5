// What every fuzz target shares: it counts the inputs that were accepted, and fails at its end when
// there was none, because then it has tested only the first refusal.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace tw::fuzz {

inline uint64_t accepted = 0;
inline uint64_t tried = 0;

// Counts one input. Call it once for each input, with whether the code under test accepted it.
inline void count(bool was_accepted) {
  static const int registered = std::atexit([] {
    std::fprintf(stderr, "fuzz: %llu of %llu inputs accepted\n",
                 static_cast<unsigned long long>(accepted), static_cast<unsigned long long>(tried));
    if (accepted == 0) _exit(3);
  });
  (void)registered;
  ++tried;
  accepted += was_accepted ? 1 : 0;
}

}  // namespace tw::fuzz
