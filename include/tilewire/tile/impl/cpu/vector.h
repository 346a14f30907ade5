// Vectors of a CPU target (compiler vector types, no intrinsics) and the ways they enter and leave
// memory. Addresses need no alignment unless a function says so.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/target.h"
#include "tilewire/tile/types.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace TW_NS {

template <class T, int bytes = Target::kVectorBytes>
struct VecOf {
  typedef T type __attribute__((vector_size(bytes)));  // NOLINT(modernize-use-using): g++ needs it
};
template <class T>
using Vec = typename VecOf<T>::type;

template <class V>
TW_INLINE V load_vector(const void* from) {
  V v;
  // NOLINTNEXTLINE(clang-analyzer-unix.cstring.NullArg): what is loaded is there
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}

template <class V>
TW_INLINE void store_vector(void* to, V v) {
  __builtin_memcpy(to, &v, sizeof v);
}

/// True where stream_vector leaves the caches alone. ThreadSanitizer does not see such stores, so
/// its build has none.
#if defined(__x86_64__) && !defined(TW_SANITIZE_THREAD)
inline constexpr bool kHasStream = true;
#else
inline constexpr bool kHasStream = false;
#endif

/// Non-temporal store of one vector; `to` is aligned to its size. Not ordered with later stores:
/// see stream_fence.
template <class V>
TW_INLINE void stream_vector(void* to, V v) {
  static_assert(sizeof(V) == Target::kVectorBytes);
  if constexpr (!kHasStream) {
    store_vector(to, v);
  } else {
#if defined(TW_TARGET_VECTOR_512)
    _mm512_stream_si512(static_cast<__m512i*>(to), bits_as<__m512i>(v));
#elif defined(TW_TARGET_VECTOR_256)
    _mm256_stream_si256(static_cast<__m256i*>(to), bits_as<__m256i>(v));
#elif defined(__x86_64__)
    _mm_stream_si128(static_cast<__m128i*>(to), bits_as<__m128i>(v));
#endif
  }
}

/// Orders earlier non-temporal stores before later stores.
TW_INLINE void stream_fence() {
#if defined(__x86_64__)
  if constexpr (kHasStream) _mm_sfence();
#endif
}

/// Tells the core that this is a spin loop.
TW_INLINE void pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

using Byte = unsigned char;
inline constexpr size_t kUnit = 64;  // bytes that loops handle at once; a multiple of every vector
inline constexpr int kUnitVectors = kUnit / Target::kVectorBytes;

TW_INLINE void clear_unit(Byte* to) {
  for (int i = 0; i < kUnitVectors; ++i)
    store_vector(to + i * Target::kVectorBytes, Vec<uint64_t>{});
}

template <bool stream>
TW_INLINE void copy_unit(Byte* to, const Byte* from) {
  Vec<uint64_t> v[kUnitVectors];
  for (int i = 0; i < kUnitVectors; ++i)
    v[i] = load_vector<Vec<uint64_t>>(from + i * Target::kVectorBytes);
  for (int i = 0; i < kUnitVectors; ++i) {
    if constexpr (stream) {
      stream_vector(to + i * Target::kVectorBytes, v[i]);
    } else {
      store_vector(to + i * Target::kVectorBytes, v[i]);
    }
  }
}

/// Up to 64 bytes, mostly with two overlapping accesses.
TW_INLINE void copy_small(Byte* to, const Byte* from, size_t bytes) {
  const auto ends = [&](auto word) {
    using Word = decltype(word);
    const Word first = load_vector<Word>(from);
    const Word last = load_vector<Word>(from + bytes - sizeof(Word));
    store_vector(to, first);
    store_vector(to + bytes - sizeof(Word), last);
  };
  using V16 = VecOf<uint64_t, 16>::type;
  if (bytes == 8) {
    store_vector(to, load_vector<uint64_t>(from));
  } else if (bytes > 32) {
    const V16 second = load_vector<V16>(from + 16);
    const V16 third = load_vector<V16>(from + bytes - 32);
    ends(V16{});
    store_vector(to + 16, second);
    store_vector(to + bytes - 32, third);
  } else if (bytes >= 16) {
    ends(V16{});
  } else if (bytes >= 8) {
    ends(uint64_t{});
  } else if (bytes >= 4) {
    ends(uint32_t{});
  } else if (bytes >= 2) {
    ends(uint16_t{});
  } else if (bytes == 1) {
    *to = *from;
  }
}

/// Up to 64 bytes into a unit whose rest is zero. One store: the load that follows does not have to
/// wait until several have left the core.
TW_INLINE void load_padded(Byte* unit, const Byte* from, size_t bytes) {
#if defined(__AVX512BW__)
  const __mmask64 mask = bytes >= kUnit ? ~__mmask64{0} : (__mmask64{1} << bytes) - 1;
  _mm512_store_si512(unit, _mm512_maskz_loadu_epi8(mask, from));
#else
  clear_unit(unit);
  copy_small(unit, from, bytes);
#endif
}

/// The payload of one packet.
TW_INLINE void copy_payload(Byte* to, const Byte* from) {
  static_assert(Target::kPacketPayload == 56);
  using Half = VecOf<uint64_t, (Target::kVectorBytes < 32 ? 16 : 32)>::type;
  Half v[56 / sizeof(Half) + 1];
  constexpr size_t kParts = sizeof v / sizeof v[0];
  constexpr size_t kLast = 56 - sizeof(Half);  // overlaps the one before
  for (size_t i = 0; i < kParts; ++i)
    v[i] = load_vector<Half>(from + (i + 1 < kParts ? i * sizeof(Half) : kLast));
  for (size_t i = 0; i < kParts; ++i)
    store_vector(to + (i + 1 < kParts ? i * sizeof(Half) : kLast), v[i]);
}

/// Copies of this size come mostly out of another core's cache, where a page that is asked for
/// ahead of the prefetcher (which stops at its end) saves 5-7 %; larger ones come from memory.
inline constexpr size_t kAheadFrom = 24 << 10, kAheadTo = 512 << 10, kAheadBytes = 4096;

template <bool stream, bool ahead>
TW_FN void copy_loop(Byte* to, const Byte* from, size_t bytes) {
  size_t i = 0;
  for (; i + 4 * kUnit <= bytes; i += 4 * kUnit) {
    for (size_t u = 0; ahead && u < 4 * kUnit; u += kUnit)
      __builtin_prefetch(from + i + kAheadBytes + u, 0, 2);
    copy_unit<stream>(to + i, from + i);
    copy_unit<stream>(to + i + kUnit, from + i + kUnit);
    copy_unit<stream>(to + i + 2 * kUnit, from + i + 2 * kUnit);
    copy_unit<stream>(to + i + 3 * kUnit, from + i + 3 * kUnit);
  }
  for (; i + kUnit <= bytes; i += kUnit) copy_unit<stream>(to + i, from + i);
  copy_small(to + i, from + i, bytes - i);
}

/// Bytes up to the next unit boundary.
TW_INLINE size_t to_boundary(const void* p) { return -reinterpret_cast<uintptr_t>(p) % kUnit; }

/// Copies between buffers that do not overlap. `stream`: non-temporal stores for all whole units.
TW_FN void copy_bytes(void* to, const void* from, size_t bytes, bool stream) {
  Byte* out = static_cast<Byte*>(to);
  const Byte* in = static_cast<const Byte*>(from);
  if (bytes <= kUnit) return copy_small(out, in, bytes);
  if (!kHasStream || !stream) {
    if (bytes >= kAheadFrom && bytes < kAheadTo) return copy_loop<false, true>(out, in, bytes);
    return copy_loop<false, false>(out, in, bytes);
  }
  const size_t head = to_boundary(out);
  copy_small(out, in, head < bytes ? head : bytes);
  if (head < bytes) copy_loop<true, false>(out + head, in + head, bytes - head);
}

}  // namespace TW_NS
