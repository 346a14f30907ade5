#include "perf/runner/loops.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__x86_64__)
// GCC 12's own header uses the registers that it means to leave undefined (GCC bug 105593).
#if !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#endif

namespace tw::perf {

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

void fill(void* p, size_t bytes, unsigned char byte) { std::memset(p, byte, bytes); }

namespace {

// Stored to so that the reads stay; a thread's own word, so that ranks share no line.
thread_local volatile uint64_t touched;

constexpr size_t kLine = 64;
constexpr size_t kHugePage = size_t{2} << 20;

uint64_t touch_lines(const char* p, size_t bytes) {
  uint64_t seen = 0;
  for (size_t i = 0; i + sizeof(seen) <= bytes; i += kLine) {
    uint64_t word;
    std::memcpy(&word, p + i, sizeof(word));
    seen |= word;
  }
  return seen;
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) uint64_t touch_avx512(const char* p, size_t bytes) {
  __m512i a = _mm512_setzero_si512(), b = a;
  size_t i = 0;
  for (; i + 2 * kLine <= bytes; i += 2 * kLine) {
    a = _mm512_or_si512(a, _mm512_loadu_si512(p + i));
    b = _mm512_or_si512(b, _mm512_loadu_si512(p + i + kLine));
  }
  const uint64_t seen = static_cast<uint64_t>(_mm512_reduce_or_epi64(_mm512_or_si512(a, b)));
  return seen | touch_lines(p + i, bytes - i);
}
#endif

}  // namespace

void touch(const void* p, size_t bytes) {
  const char* bytes_at = static_cast<const char*>(p);
  uint64_t seen;
#if defined(__x86_64__)
  static const bool wide = __builtin_cpu_supports("avx512f");
  seen = wide ? touch_avx512(bytes_at, bytes) : touch_lines(bytes_at, bytes);
#else
  seen = touch_lines(bytes_at, bytes);
#endif
  touched = seen;
}

char* allocate_private(size_t bytes) {
  const size_t rounded = (bytes + kHugePage) & ~(kHugePage - 1);
  void* p = std::aligned_alloc(kHugePage, rounded);
  if (!p) throw std::bad_alloc();
  madvise(p, rounded, MADV_HUGEPAGE);
  std::memset(p, 0, rounded);
  return static_cast<char*>(p);
}

}  // namespace tw::perf
