// One collective call as its caller made it, and what can be said of it without a comm's memory:
// whether its arguments are valid, how many bytes it moves, and the digest that ranks compare.
#pragma once

#include <cstddef>
#include <cstdint>

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
};

/// Bytes of an element of a valid type.
constexpr size_t kTypeBytes[] = {1, 1, 4, 4, 8, 8, 2, 2, 4, 8, 1, 1};
constexpr int kTypes = 12;
constexpr int kOps = 5;

/// "all_reduce", "TW_FP32", "TW_SUM"; "unknown" for values that are none.
const char* type_name(int type);
const char* op_name(int op);

/// Throws INVALID_ARGUMENT with the offending value and what is valid: null buffers, type, op (a
/// scaled sum must have been resolved to TW_SUM), root, counts that overflow, overlapping buffers.
/// Call only `when obviously_valid` is false: it is exact but slow.
void check_call(const Call& call, const Place& place);

/// Bytes that one rank sends to one peer: what the choice table goes by. The largest over peers in
/// uneven forms whose counts all ranks know; for all_to_all_v 0, since each rank knows only its
/// own.
size_t message_bytes(const Call& call, const Place& place);

/// 16 bits of what must be equal on all ranks: op, type, reduction, root, count, the shared counts
/// of uneven forms. `op_kind` is the reduction with scaled sums folded to one value.
uint16_t call_digest(const Call& call, const Place& place, bool scaled);

}  // namespace tw
