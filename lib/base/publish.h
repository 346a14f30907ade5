// The releases of the host's protocols between ranks, by name: the ThreadSanitizer build can leave
// any of them out (tests/planted_host_test.cc), to show that it would notice.
#pragma once

#include <atomic>
#include <cstdint>

namespace tw {

/// Whose payload a release publishes: a control call's, tw_signal's, the sentence of an error's.
enum class Published { kNone, kMailbox, kSignal, kError };

#if defined(TW_SANITIZE_THREAD)
/// What is stored relaxed. Set before the ranks start.
inline std::atomic<Published> planted_publication{Published::kNone};
inline bool is_planted(Published what) {
  return planted_publication.load(std::memory_order_relaxed) == what;
}
#else
inline constexpr bool is_planted(Published /*what*/) { return false; }
#endif

/// Stores `value` for other ranks. Scope: system. Order: release.
inline void publish(Published what, uint64_t* word, uint64_t value) {
  if (is_planted(what))
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
  else
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/// The same, unless the word has a value already.
inline void publish_first(Published what, uint64_t* word, uint64_t value) {
  uint64_t none = 0;
  if (is_planted(what))
    __atomic_compare_exchange_n(word, &none, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  else
    __atomic_compare_exchange_n(word, &none, value, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

}  // namespace tw
