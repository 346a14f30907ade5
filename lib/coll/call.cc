#include "lib/coll/call.h"

#include <algorithm>
#include <numeric>

#include "lib/base/error.h"
#include "lib/coll/choice.h"

namespace tw {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 56;  // no address space holds more

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

/// Says what is wrong with buffers that do not fit.
[[noreturn]] void refuse_buffers(const Call& call, const Extents& e, const char* in_place) {
  const char* op = name_of(call.call);
  const auto check = [&](const char* name, const void* at, size_t bytes) {
    if (bytes == 0) return;
    if (at == nullptr)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s is NULL; valid: %zu bytes of memory", op, name,
           bytes);
    if (reinterpret_cast<uintptr_t>(at) + bytes < bytes)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s = %p with %zu bytes runs past the address space", op,
           name, at, bytes);
  };
  check("send", call.send, e.send_bytes);
  check("recv", call.recv, e.recv_bytes);
  fail(TW_ERROR_INVALID_ARGUMENT,
       "%s: send [%p, +%zu) and recv [%p, +%zu) overlap; valid: disjoint%s%s", op, call.send,
       e.send_bytes, call.recv, e.recv_bytes, e.may_be_in_place ? ", or " : " only", in_place);
}

void check_enums(const Call& call, const Place& place) {
  if (call.type < 0 || call.type >= kTypes)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: type = %d is not a tw_type_t; valid: 0 (TW_INT8) to %d (%s)", name_of(call.call),
         call.type, kTypes - 1, type_name(kTypes - 1));
  if (reduces(call.call) && (call.op < 0 || call.op >= kOps))
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: op = %d is no op; valid: 0 (TW_SUM) to %d (TW_AVG) or one from "
         "tw_op_create_scaled_sum of this comm",
         name_of(call.call), call.op, kOps - 1);
  if (has_root(call.call) && (call.root < 0 || call.root >= place.size))
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

Extents even_extents(const Call& call, const Place& place) {
  const size_t one = checked_bytes(call, call.count, "count");
  const bool split = call.call == kAllGather || call.call == kGather ||
                     call.call == kReduceScatter || call.call == kScatter || call.call == kAllToAll;
  const size_t all = split ? checked_total(call, place.size) : one;
  const auto own = static_cast<ptrdiff_t>(static_cast<size_t>(place.rank) * one);
  const bool at_root = place.rank == call.root;
  switch (call.call) {
    case kReduce:
      return {one, at_root ? one : 0, true, 0};
    case kBroadcast:
      return {at_root ? one : 0, one, true, 0};
    case kAllGather:
      return {one, all, true, own};
    case kGather:
      return {one, at_root ? all : 0, true, own};
    case kReduceScatter:
      return {all, one, true, -own};
    case kScatter:
      return {at_root ? all : 0, one, true, -own};
    case kAllToAll:
      return {all, all, true, 0};
    case kBarrier:
      return {0, 0, true, 0};
    default:
      return {one, one, true, 0};
  }
}

Extents uneven_extents(const Call& call, const Place& place) {
  const size_t element = kTypeBytes[call.type];
  const auto offset = [&](const size_t* counts, const size_t* displs) {
    return static_cast<ptrdiff_t>(uneven_offset(counts, displs, place.rank) * element);
  };
  if (call.call == kAllGatherV) {
    const size_t all =
        uneven_span(call, call.recv_counts, call.recv_displs, place.size, "counts", true);
    return {call.recv_counts[place.rank] * element, all, true,
            offset(call.recv_counts, call.recv_displs)};
  }
  const char* name = call.call == kAllToAllV ? "send_counts" : "counts";
  const size_t sent =
      uneven_span(call, call.send_counts, call.send_displs, place.size, name, false);
  if (call.call == kReduceScatterV)
    return {sent, call.send_counts[place.rank] * element, true,
            -offset(call.send_counts, call.send_displs)};
  const size_t received =
      uneven_span(call, call.recv_counts, call.recv_displs, place.size, "recv_counts", true);
  const size_t out = call.send_counts[place.rank], in = call.recv_counts[place.rank];
  if (out != in)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "all_to_all_v: send_counts[%d] = %zu and recv_counts[%d] = %zu of the own rank differ",
         place.rank, out, place.rank, in);
  return {sent, received, false, 0};
}

/// The natural in-place position in words, for messages.
const char* in_place_text(CollOp op) {
  switch (op) {
    case kAllGather:
    case kGather:
      return "send == recv + rank * count";
    case kReduceScatter:
    case kScatter:
      return "recv == send + rank * count";
    case kAllGatherV:
      return "send == recv + displs[rank]";
    case kReduceScatterV:
      return "recv == send + the counts of the ranks before";
    case kAllToAllV:
      return "";
    default:
      return "send == recv";
  }
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

Extents check_call(const Call& call, const Place& place) {
  check_enums(call, place);
  const Extents extents =
      is_uneven(call.call) ? uneven_extents(call, place) : even_extents(call, place);
  if (!extents.fit(call.send, call.recv)) refuse_buffers(call, extents, in_place_text(call.call));
  return extents;
}

size_t total_count(const Call& call, const Place& place) {
  const size_t* counts = shared_counts(call);
  return counts == nullptr ? call.count : std::accumulate(counts, counts + place.size, size_t{0});
}

size_t message_bytes(const Call& call, const Place& place) {
  const size_t* counts = shared_counts(call);
  if (counts == nullptr) return call.call == kAllToAllV ? 0 : call.count * kTypeBytes[call.type];
  return *std::max_element(counts, counts + place.size) * kTypeBytes[call.type];
}

size_t largest_slice(const Call& call, const Place& place) {
  if (call.call != kAllToAllV) return message_bytes(call, place);
  return std::max(*std::max_element(call.send_counts, call.send_counts + place.size),
                  *std::max_element(call.recv_counts, call.recv_counts + place.size)) *
         kTypeBytes[call.type];
}

uint64_t call_digest(const Call& call, const Place& place, bool scaled) {
  const uint64_t kind = static_cast<uint64_t>(call.call) | static_cast<uint64_t>(call.type) << 8 |
                        static_cast<uint64_t>(call.op) << 16 | uint64_t{scaled} << 24 |
                        static_cast<uint64_t>(call.root + 1) << 32;
  uint64_t h = mix(mix(0, kind), call.count);
  if (const size_t* counts = shared_counts(call)) {
    size_t packed = 0;
    for (int r = 0; r < place.size; ++r) {
      h = mix(mix(h, counts[r]), call.recv_displs != nullptr ? call.recv_displs[r] : packed);
      packed += counts[r];
    }
  }
  return h;
}

}  // namespace tw
