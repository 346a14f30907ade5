// What the threads of a block share, and how the block waits: bounded polling and the record of a
// wait that failed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire.h"
#include "tilewire/tile/comm_view.h"
#include "tilewire/tile/impl/gpu/ptx/memory.h"
#include "tilewire/tile/target.h"

namespace TW_NS {

using Byte = unsigned char;

/// How a message is cut into units, a thread's portions of work: the first is shorter where that
/// makes the others aligned.
struct Units {
  size_t bytes;
  size_t first;  // bytes of unit 0
  size_t count;
  int unit;  // bytes of the others
  TW_FN size_t begin(size_t u) const { return u == 0 ? 0 : first + (u - 1) * unit; }
  TW_FN int size(size_t u) const {
    const size_t whole = u == 0 ? first : unit;
    const size_t left = bytes - begin(u);
    return static_cast<int>(whole < left ? whole : left);
  }
};

/// One reduction, or one message that passes through the reduction's loop (reduce.h).
struct Work {
  const Byte* source[kMaxRanks];
  uint64_t factor[kMaxRanks];
  uint32_t scaled[kMaxRanks];
  Byte* destination[kMaxRanks];
  Byte* everywhere;  // multicast address of all destinations, or null
  tw_type_t type;
  tw_op_t op;
  int sources;
  int destinations;
  Units units;
  int own;        // the source that is memory; the others are inboxes. -1: all are memory
  int peer;       // rank of source 0, where sources are inboxes
  bool to_inbox;  // destinations are inboxes
  uint64_t word;  // of the packets
};

struct BlockShared {
  Work work;
  uint64_t word;  // from one thread to all
  // Set at the start of the kernel:
  WaitContext* wait;
  const char* name;
  int index;
};

/// The block's shared memory: one object per kernel, wherever it is called.
TW_FN BlockShared& shared() {
  __shared__ BlockShared memory;
  return memory;
}

TW_FN int this_thread() { return static_cast<int>(threadIdx.x); }

/// Writes down why a block gives up and stops the comm's other blocks on this device; the host
/// finds the record and stops the peers. The first failure of a device is the one that is kept. One
/// thread calls it.
TW_FN void write_failure(const WaitContext* context, const char* name, int block,
                         tw_status_t status, int peer, uint64_t index, uint64_t expected,
                         uint64_t got) {
  WaitFailure* record = context->failure;
  if (record != nullptr && ptx::compare_exchange_relaxed_sys(&record->claimed, 0, 1) == 0) {
    record->peer = peer;
    record->block = block;
    record->index = index;
    record->expected = expected;
    record->got = got;
    for (int i = 0; i + 1 < static_cast<int>(sizeof record->op) && name[i] != 0; ++i)
      record->op[i] = name[i];
    ptx::store_release_sys(&record->status, status);
  }
  ptx::compare_exchange_relaxed_sys(context->abort, 0, status);
}

/// The same of this block.
TW_CALLED_FN void fail(tw_status_t status, int peer, uint64_t index, uint64_t expected,
                       uint64_t got) {
  write_failure(shared().wait, shared().name, shared().index, status, peer, index, expected, got);
}

/// Spins of a poll between two looks at the abort word and the clock.
inline constexpr uint32_t kSpinsToRest = 256;

/// What a thread that polls calls every kSpinsToRest spins. `start`: 1 at first, then what the last
/// call returned. Returns 0 when the wait must end: the comm was stopped, or time is up, which this
/// then records.
TW_CALLED_FN uint64_t rest(uint64_t start, int peer, uint64_t index, uint64_t expected,
                           uint64_t got) {
  const WaitContext* context = shared().wait;
  if (context == nullptr) return start;
  if (ptx::load_relaxed_sys(context->abort) != 0) return 0;
  const uint64_t now = ptx::nanoseconds();
  if (start == 1) return now;
  if (context->timeout_ns > 0 && now - start > static_cast<uint64_t>(context->timeout_ns)) {
    fail(TW_ERROR_TIMEOUT, peer, index, expected, got);
    return 0;
  }
  ptx::sleep(64);
  return start;
}

/// Polls in one thread until look(got) is true; false when the wait must end. `look` stores what it
/// saw. Order: that of `look`.
template <class Look>
TW_FN bool poll(int peer, uint64_t index, uint64_t expected, Look look) {
  uint64_t start = 1;
  for (uint32_t spin = 1;; ++spin) {
    uint64_t got;
    if (look(got)) return true;
    if (spin % kSpinsToRest != 0) continue;
    start = rest(start, peer, index, expected, got);
    if (start == 0) return false;
  }
}

/// Whether a word that announces `want` (Call::word) has come, given what was read: of
/// the epoch or later. `matches` turns false, and the mismatch is recorded, when the epoch's digest
/// is another.
TW_FN bool has_come(uint64_t got, uint64_t want, int peer, bool& matches) {
  if (got >> kDigestBits < want >> kDigestBits) return false;
  if (got != want && got >> kDigestBits == want >> kDigestBits) {
    fail(TW_ERROR_MISMATCH, peer, 0, want, got);
    matches = false;
  }
  return true;
}

/// Threads that have a word wait for it; the barrier that ends it spreads result and order to all.
/// `digest`: by has_come, else until the word is at least `want`.
TW_CALLED_FN bool wait_word(const uint64_t* word, uint64_t want, int peer, uint64_t index,
                            bool digest) {
  bool ok = true;
  if (word != nullptr) {
    bool matches = true;
    ok = poll(peer, index, want, [&](uint64_t& got) {
      got = ptx::load_relaxed_sys(word);
      return digest ? has_come(got, want, peer, matches) : got >= want;
    });
    ok = ok && matches;
    ptx::fence_acq_rel_sys();
  }
  return __syncthreads_and(ok) != 0;
}

}  // namespace TW_NS
