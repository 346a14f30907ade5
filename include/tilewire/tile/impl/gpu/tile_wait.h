// How a tile block on a GPU waits for words in global memory, and how it fails.
//
// Every such wait is bounded: the thread that polls looks at the block's `failed`, at the comm's
// abort word and at the clock every kSpinsToRest spins. So are waits of a role for another one
// (`rest_inside`). The first failure of a block is written down in shared memory; the block's end
// copies it to the comm's record (`report`), when all roles have left what they did. Nothing here
// is called: a call would make wgmma wait.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/comm_view.h"
#include "tilewire/tile/impl/gpu/fragment.h"
#include "tilewire/tile/impl/gpu/ptx/mbarrier.h"
#include "tilewire/tile/impl/gpu/ptx/memory.h"
#include "tilewire/tile/impl/gpu/shared.h"
#include "tilewire/tile/matrix.h"
#include "tilewire/tile_device.h"

namespace TW_NS {

/// What a block's threads share about waiting. In shared memory.
struct TileControl {
  WaitContext* wait;
  const char* name;
  int index;
  uint32_t failed;  // 1: a role gave up, the others follow. Written by compare-and-swap only
  uint64_t came;  // when a role last came to the end of a long wait for a word, in ns; 0: none did
  // Of the failure; status TW_OK: the comm was stopped by others, there is nothing to report.
  tw_status_t status;
  int peer;
  uint64_t at, expected, got;
};

TW_FN void open_control(TileControl& control, int index, const char* name, WaitContext* wait) {
  control.wait = wait;
  control.name = name;
  control.index = index;
  control.failed = 0;
  control.came = 0;
  control.status = TW_OK;
}

/// Order: none. A thread that was told something by mbarrier after another failed sees it.
TW_FN bool has_failed(const TileControl& control) {
  return ptx::load_relaxed_shared(&control.failed) != 0;
}

/// One thread calls it.
TW_FN void give_up(TileControl& control, tw_status_t status, int peer, uint64_t at,
                   uint64_t expected, uint64_t got) {
  if (atomicCAS(&control.failed, 0u, 1u) != 0) return;
  control.status = status;
  control.peer = peer;
  control.at = at;
  control.expected = expected;
  control.got = got;
}

/// False: the comm was stopped, or more than `times` its time-out has passed since `since`; leave.
TW_FN bool goes_on(TileControl& control, uint64_t now, uint64_t since, uint64_t times, int peer,
                   uint64_t at, uint64_t expected, uint64_t got) {
  const WaitContext* const context = control.wait;
  const bool stopped = ptx::load_relaxed_sys(context->abort) != 0;
  const bool late = context->timeout_ns > 0 && now > since &&
                    now - since > times * static_cast<uint64_t>(context->timeout_ns);
  if (!stopped && !late) return true;
  give_up(control, stopped ? TW_OK : TW_ERROR_TIMEOUT, peer, at, expected, got);
  return false;
}

/// What a thread that polls does every kSpinsToRest spins. `start`: 0 at first. False: leave.
TW_FN bool rest(TileControl& control, uint64_t& start, int peer, uint64_t at, uint64_t expected,
                uint64_t got) {
  if (has_failed(control)) return false;
  if (control.wait == nullptr) return true;
  const uint64_t now = ptx::nanoseconds();
  if (start == 0) start = now;
  if (!goes_on(control, now, start, 1, peer, at, expected, got)) return false;
  ptx::sleep(64);
  return true;
}

/// The same for a thread that waits for another role of its block. In the end all wait for one that
/// computes or polls a word, and no poll is longer than the time-out: when twice that has passed
/// since this wait began and since a poll last ended, nobody in the block gets on.
TW_FN bool rest_inside(TileControl& control, uint64_t& start) {
  if (control.wait == nullptr) return true;
  const uint64_t now = ptx::nanoseconds(), came = ptx::load_relaxed_shared(&control.came);
  if (start == 0) start = now;
  return goes_on(control, now, start > came ? start : came, 2, kAnyPeer, 0, 0, 0);
}

/// One thread polls relaxed until *word is at least `value`, of which `ignored` bits do not count,
/// and fences once: an acquire at system scope. False: the block has failed.
TW_FN bool poll_word(TileControl& control, const uint64_t* word, uint64_t value, int ignored,
                     int peer, uint64_t at, uint64_t& got) {
  uint64_t start = 0;
  for (uint32_t spin = 1;; ++spin) {
    got = ptx::load_relaxed_sys(word);
    if (got >> ignored >= value >> ignored) break;
    if (spin % kSpinsToRest == 0 && !rest(control, start, peer, at, value, got)) return false;
  }
  ptx::fence_acq_rel_sys();
  if (start != 0) ptx::store_relaxed_shared(&control.came, ptx::nanoseconds());
  return true;
}

TW_FN bool poll_ready(TileControl& control, const Ready& when) {
  uint64_t got;
  return poll_word(control, when.word, when.value, 0, when.peer, when.index, got);
}

/// This thread's share of when(0 .. n - 1); a barrier of the kTileThreads threads comes after it.
template <class When>
TW_FN bool poll_all(TileControl& control, uint32_t n, When when) {
#pragma unroll 1
  for (uint32_t i = threadIdx.x; i < n; i += kTileThreads) {
    const Ready ready = when(i);
    if (ready.word != nullptr && !poll_ready(control, ready)) return false;
  }
  return true;
}

/// One thread counts a raise. True: it is the last of `full`, and *count is 0 again. Order: acq_rel
/// (of one alone: none is needed). Scope: device.
TW_FN bool count_to(uint64_t* count, uint64_t full) {
  if (full == 1) return true;
  if (ptx::add_acq_rel_gpu(count, 1) != full - 1) return false;
  ptx::store_relaxed_gpu(count, 0);
  return true;
}

/// As poll_word for a peer's entry, whose digest must be equal in the same epoch.
TW_FN bool poll_entry(TileControl& control, const uint64_t* word, uint64_t value, int peer) {
  uint64_t got;
  if (!poll_word(control, word, value, kDigestBits, peer, 0, got)) return false;
  if (got == value || got >> kDigestBits != value >> kDigestBits) return true;
  give_up(control, TW_ERROR_MISMATCH, peer, 0, value, got);
  return false;
}

/// Tells the host why this block failed and stops the device's other blocks. One thread calls it,
/// when no other can fail any more.
TW_FN void report(const TileControl& control) {
  const WaitContext* const context = control.wait;
  if (context == nullptr || control.status == TW_OK) return;
  write_failure(context, control.name, control.index, control.status, control.peer, control.at,
                control.expected, control.got);
}

/// The end of a block that has not failed, by one thread: the last block of the launch resets the
/// counters, counts the launch and advances the epoch. Order: acq_rel, device.
TW_FN void finish_launch(TileCounters* counters, uint64_t* epoch, uint64_t value, int blocks) {
  const uint64_t others = static_cast<uint64_t>(blocks) - 1;
  if (ptx::add_acq_rel_gpu(&counters->finished, 1) != others) return;
#pragma unroll 1
  for (int p = 0; p < kTilePhases; ++p) ptx::store_relaxed_gpu(&counters->next[p][0], 0);
  ptx::store_relaxed_gpu(&counters->finished, 0);
  ptx::store_relaxed_gpu(&counters->launches, counters->launches + 1);
  ptx::store_relaxed_gpu(epoch, value);
}

}  // namespace TW_NS
