// The loops of one core, for every target that this machine can run: copy, reduce, packets; and
// what it takes a cache line to reach another core and come back.
//   build/perf/local_perf [--benchmark_filter=REGEX ...]
// Names: loop[/type]/target[/store]/bytes. Bytes per second count what is read: once for a copy,
// once per source for a reduction.
#include <benchmark/benchmark.h>
#include <sched.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "perf/local/loops.h"
#include "perf/local/register.h"
#include "perf/runner/loops.h"
#include "perf/runner/values.h"

#define TW_LOCAL_TARGET(target)              \
  namespace tw::target {                     \
  const tw::perf::LocalLoops& local_loops(); \
  }
#if defined(__x86_64__)
TW_LOCAL_TARGET(cpu_avx512)
TW_LOCAL_TARGET(cpu_avx2)
#endif
TW_LOCAL_TARGET(cpu_portable)
#undef TW_LOCAL_TARGET

namespace tw::perf {
namespace {

constexpr size_t kMaxBytes = size_t{64} << 20;
constexpr int kSources = 2;

// Memory that all benchmarks share: kSources inputs and an output.
struct Memory {
  char* in[kSources];
  char* out;
  Memory() : out(allocate_private(2 * kMaxBytes)) {  // packets take more room than their payload
    for (char*& buffer : in) {
      buffer = allocate_private(kMaxBytes);
      fill(buffer, kMaxBytes, fill_byte(0, 0));
    }
  }
};

const Memory& memory() {
  static const Memory shared;
  return shared;
}

std::vector<const LocalLoops*> targets() {
  std::vector<const LocalLoops*> all;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq"))
    all.push_back(&cpu_avx512::local_loops());
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    all.push_back(&cpu_avx2::local_loops());
#endif
  all.push_back(&cpu_portable::local_loops());
  return all;
}

void set_bytes(benchmark::State& state, size_t bytes) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * static_cast<int64_t>(bytes));
}

void copy_loop(benchmark::State& state, const LocalLoops* loops, bool non_temporal) {
  const Memory& m = memory();
  const auto bytes = static_cast<size_t>(state.range(0));
  for ([[maybe_unused]] auto _ : state) {
    loops->copy(m.out, m.in[0], bytes, non_temporal);
    benchmark::ClobberMemory();
  }
  set_bytes(state, bytes);
}

void memcpy_loop(benchmark::State& state) {
  const Memory& m = memory();
  const auto bytes = static_cast<size_t>(state.range(0));
  for ([[maybe_unused]] auto _ : state) {
    std::memcpy(m.out, m.in[0], bytes);
    benchmark::ClobberMemory();
  }
  set_bytes(state, bytes);
}

void reduce_loop(benchmark::State& state, const LocalLoops* loops, tw_type_t type,
                 bool non_temporal) {
  const Memory& m = memory();
  const auto bytes = static_cast<size_t>(state.range(0));
  const void* const from[kSources] = {m.in[0], m.in[1]};
  for ([[maybe_unused]] auto _ : state) {
    loops->reduce(type, m.out, from, kSources, bytes, type_row(type).bytes, non_temporal);
    benchmark::ClobberMemory();
  }
  set_bytes(state, kSources * bytes);
}

// There and back: a message into packets, the packets into a message.
void packet_loop(benchmark::State& state, const LocalLoops* loops) {
  const Memory& m = memory();
  const auto bytes = static_cast<size_t>(state.range(0));
  uint64_t word = 0;
  for ([[maybe_unused]] auto _ : state) {
    word += uint64_t{1} << 16;
    loops->pack(m.out, m.in[0], bytes, word);
    loops->unpack(m.in[1], m.out, bytes, word);
    benchmark::ClobberMemory();
  }
  set_bytes(state, bytes);
}

void bind_to(size_t nth) {
  cpu_set_t allowed, one;
  sched_getaffinity(0, sizeof(allowed), &allowed);
  CPU_ZERO(&one);
  for (size_t core = 0, seen = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(core, &allowed) && seen++ == nth) CPU_SET(core, &one);
  if (CPU_COUNT(&one)) sched_setaffinity(0, sizeof(one), &one);
}

// A cache line goes to another core and back; an iteration is both ways.
void line_loop(benchmark::State& state) {
  struct alignas(128) Word {
    std::atomic<uint64_t> value{0};
  };
  static Word there, back;
  there.value = back.value = 0;
  std::atomic<bool> stop{false};
  cpu_set_t before;
  sched_getaffinity(0, sizeof(before), &before);
  std::thread peer([&stop] {
    bind_to(1);
    for (uint64_t turn = 1; !stop.load(std::memory_order_relaxed);) {
      if (there.value.load(std::memory_order_acquire) != turn) continue;
      back.value.store(turn++, std::memory_order_release);
    }
  });
  bind_to(0);
  uint64_t turn = 0;
  for ([[maybe_unused]] auto _ : state) {
    there.value.store(++turn, std::memory_order_release);
    while (back.value.load(std::memory_order_acquire) != turn) {
    }
  }
  stop = true;
  peer.join();
  sched_setaffinity(0, sizeof(before), &before);
}

void add(const std::string& name, int factor, size_t from, size_t to, Body body) {
  register_loop(name, std::move(body))
      ->RangeMultiplier(factor)
      ->Range(static_cast<int64_t>(from), static_cast<int64_t>(to));
}

void add_large(const std::string& name, Body body) {
  add(name, 16, 4 << 10, kMaxBytes, std::move(body));
}

void add_target(const LocalLoops* loops) {
  const std::string target = loops->target;
  for (const bool streams : {false, true}) {
    const std::string where = target + (streams ? "/non_temporal" : "/plain");
    add_large("copy/" + where, [=](benchmark::State& state) { copy_loop(state, loops, streams); });
    for (const tw_type_t type : {TW_FP32, TW_BF16, TW_FP16, TW_FP8_E4M3, TW_INT32})
      add_large(std::string("reduce/") + type_row(type).name + "/" + where,
                [=](benchmark::State& state) { reduce_loop(state, loops, type, streams); });
  }
  add("packets/" + target, 8, 8, 4 << 10,
      [=](benchmark::State& state) { packet_loop(state, loops); });
}

}  // namespace
}  // namespace tw::perf

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  tw::perf::add("line_there_and_back", 2, 1, 1, tw::perf::line_loop);
  tw::perf::add_large("memcpy", tw::perf::memcpy_loop);
  for (const tw::perf::LocalLoops* loops : tw::perf::targets()) tw::perf::add_target(loops);
  benchmark::RunSpecifiedBenchmarks();
}
