#include "perf/gemm/limits.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "perf/runner/loops.h"

#if defined(__x86_64__)
#include <cpuid.h>
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

namespace {

thread_local volatile uint64_t seen;  // stored to so that work whose result nobody wants stays

// ---- Reading ------------------------------------------------------------------------------------
constexpr size_t kLine = 64;
constexpr size_t kStep = 4096;  // bytes of a stream before the next one's turn
constexpr size_t kLeastBytes = size_t{512} << 20;

struct Way {
  size_t streams;  // the memory is read at so many places in turn
  size_t ahead;    // bytes that are asked for ahead; 0: left to the hardware
};
constexpr Way kWays[] = {{1, 0},    {1, 512}, {1, 1024}, {1, 2048},
                         {2, 1024}, {4, 0},   {4, 1024}, {8, 1024}};

#if defined(__x86_64__)
__attribute__((target("avx512f"))) uint64_t read_avx512(const char* p, size_t bytes, size_t ahead) {
  __m512i a = _mm512_setzero_si512(), b = a;
  for (size_t i = 0; i < bytes; i += 2 * kLine) {
    if (ahead) {
      _mm_prefetch(p + i + ahead, _MM_HINT_T0);
      _mm_prefetch(p + i + ahead + kLine, _MM_HINT_T0);
    }
    a = _mm512_or_si512(a, _mm512_load_si512(p + i));
    b = _mm512_or_si512(b, _mm512_load_si512(p + i + kLine));
  }
  return static_cast<uint64_t>(_mm512_reduce_or_epi64(_mm512_or_si512(a, b)));
}
#endif

uint64_t read_plain(const char* p, size_t bytes, size_t ahead) {
  uint64_t sum = 0;
  for (size_t i = 0; i < bytes; i += kLine) {
    if (ahead) __builtin_prefetch(p + i + ahead);
    sum |= *reinterpret_cast<const volatile uint64_t*>(p + i);
  }
  return sum;
}

using Reader = uint64_t (*)(const char*, size_t, size_t);

Reader choose_reader() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return read_avx512;
#endif
  return read_plain;
}

void read(const char* p, size_t bytes, Way way) {
  static const Reader reader = choose_reader();
  if (way.streams == 1) {
    seen = reader(p, bytes, way.ahead);
    return;
  }
  const size_t part = bytes / way.streams / kStep * kStep;
  uint64_t sum = 0;
  for (size_t at = 0; at < part; at += kStep)
    for (size_t s = 0; s < way.streams; ++s) sum |= reader(p + s * part + at, kStep, way.ahead);
  seen = sum;
}

// Two readers on one core would measure one.
void bind_to_nth(size_t nth) {
  cpu_set_t allowed, one;
  sched_getaffinity(0, sizeof(allowed), &allowed);
  CPU_ZERO(&one);
  for (size_t core = 0, seen = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(core, &allowed) && seen++ == nth) CPU_SET(core, &one);
  if (CPU_COUNT(&one) > 0) sched_setaffinity(0, sizeof(one), &one);
}

// Twice the last cache a thread, and more than a prefetch behind it.
class ReadMemory {
 public:
  explicit ReadMemory(int threads) {
    const auto cache = static_cast<size_t>(std::max(sysconf(_SC_LEVEL3_CACHE_SIZE), 0L));
    bytes_ = std::max(kLeastBytes, 2 * cache) / kStep * kStep;
    for (int t = 0; t < threads; ++t) {
      parts_.push_back(allocate_private(bytes_ + kStep));
      fill(parts_.back(), bytes_, 1);
    }
  }

  double gbs(Way way) const {
    std::atomic<int> waiting{static_cast<int>(parts_.size())};
    std::vector<double> us(parts_.size());
    const auto work = [&](size_t t) {
      bind_to_nth(t);
      --waiting;
      while (waiting.load(std::memory_order_acquire) > 0) std::this_thread::yield();
      const double start = now_us();
      read(parts_[t], bytes_, way);
      us[t] = now_us() - start;
    };
    std::vector<std::thread> threads;
    for (size_t t = 0; t < parts_.size(); ++t) threads.emplace_back(work, t);
    for (std::thread& thread : threads) thread.join();
    const auto all = static_cast<double>(bytes_ * parts_.size());
    return all / *std::max_element(us.begin(), us.end()) * 1e-3;
  }

 private:
  size_t bytes_ = 0;
  std::vector<char*> parts_;
};

// ---- Multiplying --------------------------------------------------------------------------------
// Each loop runs `turns` times over operands in L1, and returns the operations of a turn.
using Multiplier = double (*)(const char* operands, int turns);
constexpr size_t kOperandBytes = 32 << 10;

#if defined(__x86_64__)
// An A and a B panel of 32 rows and columns, K 256: 16 tiles each.
__attribute__((target("amx-tile,amx-bf16"))) double multiply_amx(const char* operands, int turns) {
  struct alignas(64) {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytes[16] = {};
    uint8_t rows[16] = {};
  } config;
  for (int tile = 0; tile < 8; ++tile) config.bytes[tile] = 64, config.rows[tile] = 16;
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  constexpr int kTile = 1024, kSteps = 8;
  for (int turn = 0; turn < turns; ++turn)
    for (int step = 0; step < kSteps; ++step) {
      const char* at = operands + 4 * kTile * step;
      _tile_loadd(4, at, 64);
      _tile_loadd(5, at + kTile, 64);
      _tile_loadd(6, at + 2 * kTile, 64);
      _tile_loadd(7, at + 3 * kTile, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  alignas(64) uint64_t result[128];
  _tile_stored(0, result, 64);
  seen = result[0];
  _tile_release();
  return 2.0 * 32 * 32 * 32 * kSteps;
}

// 12 sums of 16 columns: enough to hide what an instruction takes.
__attribute__((target("avx512f,avx512bf16"))) double multiply_avx512_bf16(const char* operands,
                                                                          int turns) {
  constexpr int kSums = 12;
  __m512 sum[kSums];
  for (__m512& s : sum) s = _mm512_setzero_ps();
  const __m512bh a = (__m512bh)_mm512_load_si512(operands);
  const __m512bh b = (__m512bh)_mm512_load_si512(operands + kLine);
  for (int turn = 0; turn < turns; ++turn)
    for (__m512& s : sum) s = _mm512_dpbf16_ps(s, a, b);
  for (int s = 1; s < kSums; ++s) sum[0] = _mm512_add_ps(sum[0], sum[s]);
  seen = static_cast<uint64_t>(_mm512_reduce_add_ps(sum[0]));
  return 2.0 * 32 * kSums;
}

bool allow_amx() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // arch_prctl(2)
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif

double multiply_fp32(const char* operands, int turns) {
  constexpr int kSums = 128;
  const auto* values = reinterpret_cast<const float*>(operands);
  float sum[kSums] = {};
  for (int turn = 0; turn < turns; ++turn)
    for (int s = 0; s < kSums; ++s) sum[s] += values[s] * values[kSums + s];
  seen = static_cast<uint64_t>(sum[0]);
  return 2.0 * kSums;
}

Multiplier choose_multiplier() {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
  const bool has_amx = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & kAmxBf16) && (d & kAmxTile);
  if (has_amx && allow_amx()) return multiply_amx;
  if (__builtin_cpu_supports("avx512bf16")) return multiply_avx512_bf16;
#endif
  return multiply_fp32;
}

}  // namespace

double dram_read_gbs(int threads) {
  static const ReadMemory memory(threads);
  static const Way best = [] {
    const auto slower = [](const Way& a, const Way& b) { return memory.gbs(a) < memory.gbs(b); };
    return *std::max_element(std::begin(kWays), std::end(kWays), slower);
  }();
  return memory.gbs(best);
}

double multiply_tflops() {
  static const Multiplier multiplier = choose_multiplier();
  static const char* const operands = [] {
    char* at = allocate_private(kOperandBytes);
    fill(at, kOperandBytes, fill_byte(0, 0));
    return at;
  }();
  constexpr int kTurns = 20000;
  const double start = now_us();
  const double operations = multiplier(operands, kTurns) * kTurns;
  return operations / (now_us() - start) * 1e-6;
}

}  // namespace tw::perf
