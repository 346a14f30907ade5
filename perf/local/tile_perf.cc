// GEMM and row ops on one core, for every target that this machine can run, with the roofline of
// the same run beside them.
//   build/perf/tile_perf [--benchmark_filter=REGEX ...]
// Names: gemm/type/target/MxNxK, B packed and read from memory (several copies in turn); rows/op/
// target/n. `flops` is a rate; `roof` is the least time by the two limits, arithmetic (products in
// registers) and memory (a read loop over 256 MiB), divided by the time taken.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "perf/local/register.h"
#include "perf/local/tile_loops.h"
#include "perf/runner/loops.h"
#include "tilewire.h"
#include "tilewire/kernels/gemm.h"
#include "tilewire/tile/packed.h"

#define TW_TILE_TARGET(target)             \
  namespace tw::target {                   \
  const tw::perf::TileLoops& tile_loops(); \
  }
#if defined(__x86_64__)
TW_TILE_TARGET(cpu_amx)
TW_TILE_TARGET(cpu_avx512_bf16)
TW_TILE_TARGET(cpu_avx512)
TW_TILE_TARGET(cpu_avx2)
#endif
TW_TILE_TARGET(cpu_portable)
#undef TW_TILE_TARGET

namespace tw::perf {
namespace {

constexpr size_t kMemory = size_t{256} << 20;

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double best_rate(double amount, const std::function<void()>& work) {
  double best = 1e9;
  for (int i = 0; i < 5; ++i) best = std::min(best, seconds_of(work));
  return amount / best;
}

/// Bytes per second that one core reads from memory.
double read_rate() {
  static const double rate = [] {
    const char* const memory = allocate_private(kMemory);
    std::memset(const_cast<char*>(memory), 1, kMemory);
    return best_rate(kMemory, [memory] {
      uint64_t sum = 0;
      for (size_t i = 0; i < kMemory; i += 64) {
        __builtin_prefetch(memory + i + 1024);
        uint64_t word;
        std::memcpy(&word, memory + i, sizeof word);
        sum += word;
      }
      benchmark::DoNotOptimize(sum);
    });
  }();
  return rate;
}

double flops_rate(const TileLoops& loops, tw_type_t type) {
  const auto multiply = type == TW_BF16 ? loops.multiply_bf16 : loops.multiply_fp32;
  constexpr size_t kRounds = 200000;
  return best_rate(multiply(1) * kRounds, [&] { multiply(kRounds); });
}

struct Shape {
  size_t m, n, k;
};

/// One device's GEMM without the library's host code.
class Gemm {
 public:
  Gemm(const TileLoops& loops, const Shape& shape, tw_type_t type)
      : loops_(loops),
        counters_{},
        epoch_(0),
        copies_(std::max<size_t>(1, kMemory / bytes_of_b(shape, type))) {
    const auto [m, n, k] = shape;
    const size_t element = packed_element(type);
    char* const a = allocate(m * k * element);
    char* const b = allocate(k * n * element);
    std::memset(a, 0x3c, m * k * element);  // numbers, not zeros: 0.0115 as bf16 and fp32
    std::memset(b, 0x3c, k * n * element);
    const Operand plain{b, n, k, n, type, MatrixLayout::kRows, nullptr};
    for (size_t i = 0; i < copies_; ++i) {
      packed_.push_back(allocate(bytes_of_b(shape, type)));
      loops.pack(packed_.back(), plain);
    }
    part_.resize(8192);
    parts_[0] = part_.data();
    const size_t rows = std::min<size_t>((m + 15) / 16 * 16, kCpuTile.rows);
    args_.tiles.comm.size = 1;
    args_.tiles.layout = tile_layout(1, 16, 0);
    args_.tiles.parts = parts_;
    args_.tiles.epoch = &epoch_;
    args_.tiles.counters = &counters_;
    args_.tiles.scratch_bytes = tile_scratch(rows, k);
    args_.tiles.scratch = allocate(args_.tiles.scratch_bytes);
    args_.tiles.record.call = kNoCall;
    args_.grid = tile_grid(whole(m, static_cast<uint32_t>(rows)), whole(n, kCpuTile.cols),
                           Raster::kRowsOuter);
    args_.a = {a, k, m, k, type, MatrixLayout::kRows, nullptr};
    args_.b = {nullptr, n, k, n, type, MatrixLayout::kPacked, nullptr};
    args_.c = {allocate(m * n * element), n, type};
  }

  void run() {
    args_.b.data = packed_[next_++ % copies_];
    loops_.gemm(&args_, 0, 1);
  }

 private:
  static size_t bytes_of_b(const Shape& s, tw_type_t type) {
    return packed_bytes(PackedFor::kCpu, s.k, s.n, type);
  }

  char* allocate(size_t bytes) {
    memory_.emplace_back(allocate_private(bytes));
    return memory_.back().get();
  }

  const TileLoops& loops_;
  std::vector<Private> memory_;
  GemmArgs args_{};
  TileCounters counters_;
  uint64_t epoch_;
  const size_t copies_;
  size_t next_ = 0;
  std::vector<char*> packed_;
  std::vector<char> part_;
  char* parts_[1];
};

void set_rates(benchmark::State& state, double flops, double bytes, double peak, double elapsed) {
  const auto runs = static_cast<double>(state.iterations());
  const double least = std::max(flops / peak, bytes / read_rate());
  state.counters["flops"] = flops * runs / elapsed;
  state.counters["roof"] = least * runs / elapsed;
}

void gemm_case(benchmark::State& state, const TileLoops& loops, const Shape& shape,
               tw_type_t type) {
  Gemm gemm(loops, shape, type);
  const double peak = flops_rate(loops, type);
  gemm.run();
  const auto all = [&] {
    for ([[maybe_unused]] auto _ : state) gemm.run();
  };
  const double elapsed = seconds_of(all);
  const auto [m, n, k] = shape;
  set_rates(state, 2.0 * static_cast<double>(m * n * k),
            static_cast<double>(packed_element(type) * n * k), peak, elapsed);
}

void row_case(benchmark::State& state, const TileLoops& loops, bool norm) {
  const auto n = static_cast<size_t>(state.range(0));
  std::vector<uint16_t> from(n, 0x3f81), to(n), weight(n, 0x3f80);
  std::vector<float> row(n);
  for ([[maybe_unused]] auto _ : state) {
    if (norm)
      loops.norm_row(to.data(), from.data(), weight.data(), row.data(), n);
    else
      loops.gelu_row(to.data(), from.data(), row.data(), n);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(n));
}

constexpr Shape kShapes[] = {{512, 4096, 8192}, {64, 4096, 8192},  {8, 4096, 8192},
                             {1, 4096, 8192},   {512, 8192, 1024}, {129, 4001, 1021}};

/// As the library sees it, which thereby asks the operating system for the tiles' registers.
bool runs_here(const std::string& target) {
  size_t length = 0;
  tw_describe(TW_DESCRIBE_TARGETS, nullptr, 0, &length);
  std::string text(length, ' ');
  tw_describe(TW_DESCRIBE_TARGETS, text.data(), length, &length);
  const size_t line = text.find("\n" + target + " ");
  return line != std::string::npos &&
         text.substr(line, text.find('\n', line + 1) - line).find("runs here") != std::string::npos;
}

void add_target(const TileLoops& loops) {
  if (!runs_here(loops.target)) return;
  for (const tw_type_t type : {TW_BF16, TW_FP32})
    for (const Shape& s : kShapes) {
      const std::string name = std::string("gemm/") + (type == TW_BF16 ? "bf16/" : "fp32/") +
                               loops.target + "/" + std::to_string(s.m) + "x" +
                               std::to_string(s.n) + "x" + std::to_string(s.k);
      register_loop(name, [=, &loops](benchmark::State& state) {
        gemm_case(state, loops, s, type);
      })->Unit(benchmark::kMicrosecond);
    }
  for (const bool norm : {true, false})
    register_loop(std::string("rows/") + (norm ? "rms_norm/" : "gelu/") + loops.target,
                  [=, &loops](benchmark::State& state) { row_case(state, loops, norm); })
        ->Arg(1024)
        ->Arg(8192);
}

}  // namespace
}  // namespace tw::perf

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
#if defined(__x86_64__)
  tw::perf::add_target(tw::cpu_amx::tile_loops());
  tw::perf::add_target(tw::cpu_avx512_bf16::tile_loops());
  tw::perf::add_target(tw::cpu_avx512::tile_loops());
  tw::perf::add_target(tw::cpu_avx2::tile_loops());
#endif
  tw::perf::add_target(tw::cpu_portable::tile_loops());
  benchmark::RunSpecifiedBenchmarks();
}
