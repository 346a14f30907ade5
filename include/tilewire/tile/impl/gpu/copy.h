// Bytes between global memories by all threads of a block: 16-byte stores to aligned addresses, a
// thread for each byte of the ragged ends. Nothing outside the two ranges is touched.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/gpu/shared.h"

namespace TW_NS {

TW_FN size_t to_boundary(const void* p, size_t of) { return -reinterpret_cast<uintptr_t>(p) % of; }

TW_FN bool aligned(const void* p, size_t to) { return reinterpret_cast<uintptr_t>(p) % to == 0; }

/// Tells the compiler that these are addresses of global memory.
template <class T>
TW_FN T* in_global(T* p) {
  __builtin_assume(__isGlobal(p));
  return p;
}

/// Sixteen bytes from an address of any alignment, by words. Bytes up to 3 before and after them
/// are read too.
TW_FN uint4 load_unaligned(const Byte* from) {
  const size_t shift = reinterpret_cast<uintptr_t>(from) % 4;
  const uint32_t* word = reinterpret_cast<const uint32_t*>(from - shift);
  const uint32_t last = shift == 0 ? 0 : word[4];
  const uint32_t bits = static_cast<uint32_t>(shift) * 8;
  return make_uint4(__funnelshift_r(word[0], word[1], bits),
                    __funnelshift_r(word[1], word[2], bits),
                    __funnelshift_r(word[2], word[3], bits), __funnelshift_r(word[3], last, bits));
}

/// `units` times 16 bytes to an aligned address.
template <class Load>
TW_FN void copy_units(Byte* to, size_t units, Load load) {
  constexpr size_t kThreads = Target::kThreads;
  constexpr int kAtOnce = 4;
  size_t u = this_thread();
  uint4* out = reinterpret_cast<uint4*>(to);
  for (; u + (kAtOnce - 1) * kThreads < units; u += kAtOnce * kThreads) {
    uint4 value[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) value[i] = load(u + i * kThreads);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) out[u + i * kThreads] = value[i];
  }
#pragma unroll 1
  for (; u < units; u += kThreads) out[u] = load(u);
}

/// Copies `bytes` bytes; no overlap. All threads call it with equal arguments.
TW_CALLED_FN void copy_bytes(void* to_memory, const void* from_memory, size_t bytes) {
  Byte* to = in_global(static_cast<Byte*>(to_memory));
  const Byte* from = in_global(static_cast<const Byte*>(from_memory));
  const size_t t = this_thread();
  size_t head = to_boundary(to, 16);
  size_t units = 0;
  if (aligned(from + head, 16)) {
    head = head < bytes ? head : bytes;
    units = (bytes - head) / 16;
    copy_units(to + head, units,
               [&](size_t u) { return reinterpret_cast<const uint4*>(from + head)[u]; });
  } else {
    // Whole words around a unit of the source must lie within it.
    if (head < 3) head += 16;
    if (head + 3 < bytes) units = (bytes - head - 3) / 16;
    if (units == 0) head = 0;
    copy_units(to + head, units, [&](size_t u) { return load_unaligned(from + head + 16 * u); });
  }
  const size_t tail = head + 16 * units;
  if (t < head) to[t] = from[t];
  if (tail + t < bytes) to[tail + t] = from[tail + t];
  static_assert(Target::kThreads >= 16 + 3 + 3 + 16 + 16, "a thread for each byte of the ends");
}

}  // namespace TW_NS
