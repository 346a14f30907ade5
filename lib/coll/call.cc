#include "lib/coll/call.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/coll/choice.h"

namespace tw {
namespace {

constexpr const char* kTypeNames[] = {"TW_INT8",  "TW_UINT8",  "TW_INT32",    "TW_UINT32",
                                      "TW_INT64", "TW_UINT64", "TW_FP16",     "TW_BF16",
                                      "TW_FP32",  "TW_FP64",   "TW_FP8_E4M3", "TW_FP8_E5M2"};
static_assert(std::size(kTypeNames) == kTypes && std::size(kTypeBytes) == kTypes);
constexpr const char* kReduceNames[] = {"TW_SUM", "TW_PROD", "TW_MIN", "TW_MAX", "TW_AVG"};
static_assert(std::size(kReduceNames) == kOps);

constexpr size_t kMaxBytes = SIZE_MAX / 2;  // the address space holds no more

/// A span of memory that a call reads or writes.
struct Extent {
  const char* name;
  const void* at;
  size_t bytes;
  uintptr_t begin() const { return reinterpret_cast<uintptr_t>(at); }
  uintptr_t end() const { return begin() + bytes; }
};

bool reduces(CollOp op) {
  return op == kAllReduce || op == kReduce || op == kReduceScatter || op == kReduceScatterV;
}

bool rooted(CollOp op) {
  return op == kReduce || op == kBroadcast || op == kGather || op == kScatter;
}

size_t checked_bytes(const Call& call, size_t count, const char* name) {
  const size_t element = kTypeBytes[call.type];
  if (count > kMaxBytes / element)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s = %zu elements of %s overflow; valid: up to %zu",
         name_of(call.call), name, count, type_name(call.type), kMaxBytes / element);
  return count * element;
}

/// The bytes of `n` equal parts.
size_t checked_total(const Call& call, int n) {
  const size_t bytes = checked_bytes(call, call.count, "count");
  if (bytes > kMaxBytes / static_cast<size_t>(n))
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: count = %zu elements of %s for %d ranks overflow",
         name_of(call.call), call.count, type_name(call.type), n);
  return bytes * static_cast<size_t>(n);
}

void check_extent(const Call& call, const Extent& e) {
  if (e.bytes == 0) return;
  if (e.at == nullptr)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s is NULL; valid: %zu bytes of memory",
         name_of(call.call), e.name, e.bytes);
  if (e.end() < e.begin())
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s = %p with %zu bytes runs past the address space",
         name_of(call.call), e.name, e.at, e.bytes);
}

/// Refuses an overlap of send and recv unless send lies at `in_place` exactly.
void check_overlap(const Call& call, const Extent& send, const Extent& recv, bool in_place,
                   const char* valid) {
  if (send.bytes == 0 || recv.bytes == 0 || in_place) return;
  if (send.begin() < recv.end() && recv.begin() < send.end())
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: send [%p, +%zu) and recv [%p, +%zu) overlap; valid: disjoint, or %s",
         name_of(call.call), send.at, send.bytes, recv.at, recv.bytes, valid);
}

void check_enums(const Call& call, const Place& place) {
  if (call.type < 0 || call.type >= kTypes)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: type = %d is not a tw_type_t; valid: 0 (TW_INT8) to %d (%s)", name_of(call.call),
         call.type, kTypes - 1, kTypeNames[kTypes - 1]);
  if (reduces(call.call) && (call.op < 0 || call.op >= kOps))
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: op = %d is no op; valid: 0 (TW_SUM) to %d (TW_AVG) or one from "
         "tw_op_create_scaled_sum of this comm",
         name_of(call.call), call.op, kOps - 1);
  if (rooted(call.call) && (call.root < 0 || call.root >= place.size))
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: root = %d is no rank; valid: 0 to %d", name_of(call.call),
         call.root, place.size - 1);
}

/// Span of the parts [displ, displ + count) of an uneven form; parts that are written must be
/// disjoint.
size_t uneven_span(const Call& call, const size_t* counts, const size_t* displs, int n,
                   const char* name, bool written) {
  if (counts == nullptr)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s is NULL; valid: %d counts", name_of(call.call), name,
         n);
  size_t span = 0;
  for (int r = 0; r < n; ++r) {
    checked_bytes(call, counts[r], name);
    const size_t at = displs != nullptr ? displs[r] : span;
    if (counts[r] == 0) continue;
    if (at > kMaxBytes - counts[r])
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: displacement %zu + count %zu of rank %d overflow",
           name_of(call.call), at, counts[r], r);
    for (int s = 0; written && displs != nullptr && at < span && s < r; ++s)
      if (counts[s] != 0 && displs[s] < at + counts[r] && at < displs[s] + counts[s])
        fail(TW_ERROR_INVALID_ARGUMENT,
             "%s: the parts of ranks %d and %d overlap (%zu + %zu, %zu + %zu)", name_of(call.call),
             s, r, displs[s], counts[s], at, counts[r]);
    span = std::max(span, at + counts[r]);
  }
  return checked_bytes(call, span, name);
}

/// Element offset of `rank`'s part.
size_t uneven_offset(const size_t* counts, const size_t* displs, int rank) {
  if (displs != nullptr) return displs[rank];
  size_t at = 0;
  for (int r = 0; r < rank; ++r) at += counts[r];
  return at;
}

/// True when `part` lies `offset` bytes into `whole`.
bool lies_at(const void* part, const void* whole, size_t offset) {
  return reinterpret_cast<uintptr_t>(part) == reinterpret_cast<uintptr_t>(whole) + offset;
}

void check_even(const Call& call, const Place& place) {
  const size_t one = checked_bytes(call, call.count, "count");
  const auto parts = [&] { return checked_total(call, place.size); };
  const size_t own = static_cast<size_t>(place.rank) * one;
  const bool at_root = place.rank == call.root;
  Extent send{"send", call.send, one};
  Extent recv{"recv", call.recv, one};
  bool in_place = call.send == call.recv;
  const char* valid = "send == recv";
  switch (call.call) {
    case kReduce:
      if (!at_root) recv.bytes = 0;
      break;
    case kBroadcast:
      if (!at_root) send.bytes = 0;
      break;
    case kAllGather:
    case kGather:
      recv.bytes = parts();
      if (call.call == kGather && !at_root) recv.bytes = 0;
      in_place = lies_at(call.send, call.recv, own);
      valid = "send == recv + rank * count";
      break;
    case kReduceScatter:
    case kScatter:
      send.bytes = parts();
      if (call.call == kScatter && !at_root) send.bytes = 0;
      in_place = lies_at(call.recv, call.send, own);
      valid = "recv == send + rank * count";
      break;
    case kAllToAll:
      send.bytes = recv.bytes = parts();
      break;
    default:
      break;
  }
  check_extent(call, send);
  check_extent(call, recv);
  check_overlap(call, send, recv, in_place, valid);
}

void check_uneven(const Call& call, const Place& place) {
  Extent send{"send", call.send, 0};
  Extent recv{"recv", call.recv, 0};
  bool in_place = false;
  const char* valid = "disjoint only";
  const size_t element = kTypeBytes[call.type];
  if (call.call == kAllGatherV) {
    recv.bytes = uneven_span(call, call.recv_counts, call.recv_displs, place.size, "counts", true);
    send.bytes = call.recv_counts[place.rank] * element;
    in_place = lies_at(call.send, call.recv,
                       uneven_offset(call.recv_counts, call.recv_displs, place.rank) * element);
    valid = "send == recv + displs[rank]";
  } else if (call.call == kReduceScatterV) {
    send.bytes = uneven_span(call, call.send_counts, call.send_displs, place.size, "counts", false);
    recv.bytes = call.send_counts[place.rank] * element;
    in_place = lies_at(call.recv, call.send,
                       uneven_offset(call.send_counts, call.send_displs, place.rank) * element);
    valid = "recv == send + the counts of the ranks before";
  } else {
    send.bytes =
        uneven_span(call, call.send_counts, call.send_displs, place.size, "send_counts", false);
    recv.bytes =
        uneven_span(call, call.recv_counts, call.recv_displs, place.size, "recv_counts", true);
    const size_t out = call.send_counts[place.rank], in = call.recv_counts[place.rank];
    if (out != in)
      fail(TW_ERROR_INVALID_ARGUMENT,
           "all_to_all_v: send_counts[%d] = %zu and recv_counts[%d] = %zu of the own rank differ",
           place.rank, out, place.rank, in);
  }
  check_extent(call, send);
  check_extent(call, recv);
  check_overlap(call, send, recv, in_place, valid);
}

constexpr uint64_t mix(uint64_t h, uint64_t v) {
  h = (h ^ v) * UINT64_C(0x9E3779B97F4A7C15);
  return h ^ (h >> 32);
}

/// The counts that every rank knows of an uneven form; null otherwise.
const size_t* shared_counts(const Call& call) {
  if (call.call == kAllGatherV) return call.recv_counts;
  if (call.call == kReduceScatterV) return call.send_counts;
  return nullptr;
}

}  // namespace

const char* type_name(int type) {
  return type >= 0 && type < kTypes ? kTypeNames[type] : "unknown type";
}

const char* op_name(int op) { return op >= 0 && op < kOps ? kReduceNames[op] : "unknown op"; }

void check_call(const Call& call, const Place& place) {
  if (call.call == kBarrier) return;
  check_enums(call, place);
  if (call.call == kAllGatherV || call.call == kReduceScatterV || call.call == kAllToAllV)
    check_uneven(call, place);
  else
    check_even(call, place);
}

size_t message_bytes(const Call& call, const Place& place) {
  const size_t* counts = shared_counts(call);
  if (counts == nullptr) return call.call == kAllToAllV ? 0 : call.count * kTypeBytes[call.type];
  return *std::max_element(counts, counts + place.size) * kTypeBytes[call.type];
}

uint16_t call_digest(const Call& call, const Place& place, bool scaled) {
  const uint64_t kind = static_cast<uint64_t>(call.call) | static_cast<uint64_t>(call.type) << 8 |
                        static_cast<uint64_t>(call.op) << 16 | uint64_t{scaled} << 24 |
                        static_cast<uint64_t>(call.root + 1) << 32;
  uint64_t h = mix(mix(0, kind), call.count);
  if (const size_t* counts = shared_counts(call))
    for (int r = 0; r < place.size; ++r) h = mix(h, counts[r]);
  return static_cast<uint16_t>(h >> 48);
}

}  // namespace tw
