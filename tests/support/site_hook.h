// The tile layer's hook in tests that leave out signals and waits one at a time: it writes down the
// places that are reached, leaves one out, and lets some sleep before others. For a test whose
// kernels' templates were included with TW_NS = tw::planted before.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <string>

#include "tests/runner/mortal_ranks.h"

namespace tw::test {

enum Kind : int { kSignals, kWaits };

struct Place {
  const char* file;
  int line;
  Kind kind;
  bool operator==(const Place& other) const {
    return std::strcmp(file, other.file) == 0 && line == other.line && kind == other.kind;
  }
  /// As seen from the root of the sources, whatever way the compiler took to it.
  std::string path() const { return std::filesystem::path(file).lexically_normal(); }
  std::string text() const {
    return (kind == kSignals ? "signal at " : "wait at ") + path() + ":" + std::to_string(line);
  }
};

/// Who sleeps, before what: so that the others run ahead.
struct Tempo {
  int rank = -1;   // none
  int block = -1;  // all
  Kind before = kSignals;
};

/// The places that were reached.
struct Record {
  static constexpr size_t kMost = 64;
  size_t count;
  Place places[kMost];
};

/// One in a process, which runs one trial: set before its ranks start.
struct HookState {
  const Place* removed = nullptr;
  Tempo tempo;
  int64_t nap_us = 2000;
  Record* record = nullptr;
  std::mutex mutex;
};
inline HookState hook;
inline thread_local int this_rank = 0;
inline thread_local int this_block = 0;

template <planted::Site relaxed>
struct SiteHook {
  static constexpr planted::Site kRelaxed = relaxed;
  static bool signals(const At& at) { return come({at.file, at.line, kSignals}); }
  static bool waits(const At& at) { return come({at.file, at.line, kWaits}); }

 private:
  static bool come(const Place& place) {
    if (hook.removed != nullptr && *hook.removed == place) return false;
    if (hook.record != nullptr) write_down(place);
    const Tempo& tempo = hook.tempo;
    if (tempo.rank == this_rank && tempo.before == place.kind &&
        (tempo.block < 0 || tempo.block == this_block))
      sleep_us(hook.nap_us);
    return true;
  }
  static void write_down(const Place& place) {
    const std::lock_guard lock(hook.mutex);
    Record& record = *hook.record;
    if (std::find(record.places, record.places + record.count, place) !=
        record.places + record.count)
      return;
    if (record.count == Record::kMost) std::abort();
    record.places[record.count++] = place;
  }
};

}  // namespace tw::test
