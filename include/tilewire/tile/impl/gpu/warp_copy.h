// Copies by the lanes of a warp, and records that one lane writes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/block.h"
#include "tilewire/tile/impl/gpu/copy.h"
#include "tilewire/tile/impl/gpu/fragment.h"

namespace TW_NS {

/// The largest power of two up to 16 that divides all.
TW_FN int common_unit(size_t a, size_t b) {
  const size_t bits = a | b | 16;
  return static_cast<int>(bits & -bits);
}

template <class Unit, int lanes>
TW_FN void copy_units_of(char* to, const char* from, size_t bytes, int t) {
#pragma unroll 4
  for (size_t i = t; i < bytes / sizeof(Unit); i += lanes)
    reinterpret_cast<Unit*>(to)[i] = reinterpret_cast<const Unit*>(from)[i];
}

/// By the widest accesses that addresses and size allow.
template <int lanes>
TW_FN void copy_run(char* to, const char* from, size_t bytes, int t) {
  switch (common_unit(reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from), bytes)) {
    case 16:
      return copy_units_of<uint4, lanes>(to, from, bytes, t);
    case 8:
      return copy_units_of<uint64_t, lanes>(to, from, bytes, t);
    case 4:
      return copy_units_of<uint32_t, lanes>(to, from, bytes, t);
    case 2:
      return copy_units_of<uint16_t, lanes>(to, from, bytes, t);
    default:
      return copy_units_of<uint8_t, lanes>(to, from, bytes, t);
  }
}

/// A row from shared memory, by a warp.
TW_FN void store_from_shared(char* to, const char* from, size_t bytes) {
  copy_run<32>(in_global(to), from, bytes, lane());
}

/// Rows in global memory, by `warps` warps, of which this one is number `warp`.
TW_FN void copy_rows(char* to, size_t to_stride, const char* from, size_t from_stride, size_t rows,
                     size_t bytes, int warp, int warps) {
#pragma unroll 1
  for (size_t r = warp; r < rows; r += warps)
    copy_run<32>(in_global(to) + r * to_stride, in_global(from) + r * from_stride, bytes, lane());
}

/// Block::record, by one thread.
TW_FN void write_record(CallRecord* to, const CallRecord& from, uint64_t* next) {
  ptx::store_relaxed_sys(next, 0);
  ptx::store_relaxed_sys(&to->call, from.call);
  ptx::store_relaxed_sys(&to->type, from.type);
  ptx::store_relaxed_sys(&to->op, from.op);
  ptx::store_relaxed_sys(reinterpret_cast<uint32_t*>(&to->root), static_cast<uint32_t>(from.root));
  ptx::store_relaxed_sys(&to->count, from.count);
  ptx::store_relaxed_sys(&to->digest, from.digest);
  ptx::store_relaxed_sys(&to->parts, from.parts);
#pragma unroll
  for (int i = 0; i < kRecordParts; ++i) ptx::store_relaxed_sys(&to->part[i], from.part[i]);
  ptx::store_release_sys(&to->seq, from.seq);
}

/// What an entry tells, before its value is raised.
TW_FN void write_payload(FlagLine* to, const EntryPayload& what) {
  ptx::store_relaxed_sys(&to->send_at, what.send_at);
  ptx::store_relaxed_sys(&to->recv_at, what.recv_at);
  ptx::store_relaxed_sys(&to->factor, what.factor);
  ptx::store_relaxed_sys(&to->bytes, what.bytes);
  ptx::store_relaxed_sys(&to->history, what.history);
}

}  // namespace TW_NS
