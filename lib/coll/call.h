// One collective call as its caller made it, and what can be said of it without a comm's memory:
// whether its arguments are valid, how many bytes it moves, and the digest that ranks compare.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lib/base/types.h"
#include "lib/comm/call_text.h"
#include "tilewire/kernels/coll.h"

namespace tw {

/// Arguments as in the C API. `count` is the op's own count; per-rank arrays have one entry a rank
/// and are null in even forms. `type` and `op` hold whatever the caller passed until checked.
struct Call {
  CollOp call;
  const void* send = nullptr;
  void* recv = nullptr;
  size_t count = 0;
  int type = 0;
  int op = TW_SUM;
  int root = -1;
  const size_t* send_counts = nullptr;
  const size_t* send_displs = nullptr;
  const size_t* recv_counts = nullptr;
  const size_t* recv_displs = nullptr;
};

/// Where a call is made.
struct Place {
  int rank;
  int size;
  bool on_gpu = false;
};

/// What a call reads and writes, and where its buffers may lie.
struct Extents {
  size_t send_bytes, recv_bytes;  // 0 where the buffer is ignored
  bool may_be_in_place;
  ptrdiff_t send_minus_recv;  // of the natural in-place position

  /// False for a missing buffer, one that runs past the address space, and any overlap but the
  /// natural one.
  bool fit(const void* send, const void* recv) const {
    const uintptr_t s = reinterpret_cast<uintptr_t>(send), r = reinterpret_cast<uintptr_t>(recv);
    const uintptr_t s_end = s + send_bytes, r_end = r + recv_bytes;
    if ((s == 0 && send_bytes != 0) || (r == 0 && recv_bytes != 0) || s_end < s || r_end < r)
      return false;
    return s_end <= r || r_end <= s || send_bytes == 0 || recv_bytes == 0 ||
           (may_be_in_place && s == r + static_cast<uintptr_t>(send_minus_recv));
  }
};

/// Checks everything that can be wrong with a call at `place`. Throws INVALID_ARGUMENT with the
/// offending value and what is valid. A scaled sum must have been resolved to TW_SUM.
Extents check_call(const Call& call, const Place& place);

/// Whether the op has counts per rank.
constexpr bool is_uneven(CollOp op) {
  return op == kAllGatherV || op == kReduceScatterV || op == kAllToAllV;
}

/// The count that ranks compare: the call's own, or the sum of the counts that all ranks know.
size_t total_count(const Call& call, const Place& place);

/// Bytes that one rank sends to one peer: what the choice table goes by. The largest over peers in
/// uneven forms whose counts all ranks know; for all_to_all_v 0, since each rank knows only its
/// own.
size_t message_bytes(const Call& call, const Place& place);

/// As message_bytes, of what this rank knows: the largest of its own counts in all_to_all_v.
size_t largest_slice(const Call& call, const Place& place);

/// Digest of what must be equal on all ranks: op, type, reduction, root, count, the shared counts
/// and displacements of uneven forms. Factors of scaled sums differ, so only `scaled` counts.
uint64_t call_digest(const Call& call, const Place& place, bool scaled);

}  // namespace tw
