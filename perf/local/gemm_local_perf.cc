// What a rank does alone on its core: packing weights, and GEMM with each epilogue, by rows of A;
// the roofline (multiplying from L1, or DRAM's rate, measured first) beside each.
//   [TW_DEVICE_TARGET=cpu_avx2] build/perf/gemm_local_perf [--benchmark_filter=REGEX ...]
// Names: pack/layout, gemm/epilogue/rows. `roofline`: the bound's time over ours.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "perf/gemm/limits.h"
#include "perf/gemm/numbers.h"
#include "perf/runner/bind.h"
#include "perf/runner/loops.h"
#include "tilewire.h"

namespace tw::perf {
namespace {

constexpr size_t kN = 4096, kK = 8192, kMaxRows = 512;
constexpr size_t kElement = 2;
constexpr size_t kWeightBytes = kN * kK * kElement;

void must(tw_status_t status) {
  if (status != TW_OK) throw std::runtime_error(tw_last_error());
}

uint16_t* allocate(size_t elements) {
  return reinterpret_cast<uint16_t*>(allocate_private(elements * kElement));
}

// Operands that all cases share; weights in so many copies that they take twice the last cache.
struct Operands {
  tw_comm_t comm = nullptr;
  double dram_gbs = dram_read_gbs(1), tflops = multiply_tflops();
  uint16_t* plain = allocate(kN * kK);
  uint16_t* a = allocate(kMaxRows * kK);
  uint16_t* c = allocate(kMaxRows * kN);
  uint16_t* hidden = allocate(kMaxRows * kN);
  uint16_t* residual = allocate(kMaxRows * kN);
  uint16_t* row = allocate(2 * kN);  // a bias, or the norm's weights
  size_t packed_bytes = 0, copies = 1;
  std::vector<char*> packed;        // n x k
  std::vector<char*> packed_pairs;  // the same bytes as gate and up, n / 2 columns each

  Operands() {
    must(tw_comm_create_all(1, nullptr, &comm));
    fill_weights(plain, 0, kK, kN);
    fill_weights(residual, 1, kMaxRows, kN);
    fill_weights(row, 2, 1, 2 * kN);
    fill_a(a, 0, kMaxRows, kK);
    const auto cache = static_cast<size_t>(std::max(sysconf(_SC_LEVEL3_CACHE_SIZE), 0L));
    copies = std::max<size_t>(2 * cache / kWeightBytes, 1);
  }

  tw_gemm_args_t weights(bool pairs) const {
    tw_gemm_args_t args = TW_GEMM_ARGS_INIT;
    args.n = pairs ? kN / 2 : kN;
    args.k = kK;
    args.b = plain;
    args.activation = pairs ? TW_SWIGLU : TW_ACTIVATION_NONE;
    return args;
  }

  std::vector<char*>& packed_copies(bool pairs) {
    std::vector<char*>& all = pairs ? packed_pairs : packed;
    if (!all.empty()) return all;
    const tw_gemm_args_t args = weights(pairs);
    size_t bytes = 0;
    must(tw_packed_bytes(&args, comm, &bytes));
    for (size_t i = 0; i < copies; ++i) {
      all.push_back(allocate_private(bytes));
      must(tw_pack_weights(&args, all.back(), bytes, comm, nullptr));
    }
    return all;
  }
};

Operands& operands() {
  static Operands shared;
  return shared;
}

void pack(benchmark::State& state, bool transposed) {
  Operands& o = operands();
  tw_gemm_args_t args = o.weights(false);
  args.b_transposed = transposed;
  size_t bytes = 0;
  must(tw_packed_bytes(&args, o.comm, &bytes));
  char* const to = o.packed_copies(false)[0];
  for ([[maybe_unused]] auto _ : state) must(tw_pack_weights(&args, to, bytes, o.comm, nullptr));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * int64_t{kWeightBytes});
  args.b_transposed = 0;
  must(tw_pack_weights(&args, to, bytes, o.comm, nullptr));  // as the other cases want them
}

using Epilogue = std::function<void(tw_gemm_args_t*, const Operands&)>;

void gemm(benchmark::State& state, const Epilogue& epilogue) {
  Operands& o = operands();
  tw_gemm_args_t args = TW_GEMM_ARGS_INIT;
  args.m = static_cast<size_t>(state.range(0));
  args.n = kN;
  args.k = kK;
  args.a = o.a;
  args.c = o.c;
  epilogue(&args, o);
  const std::vector<char*>& weights = o.packed_copies(args.activation == TW_SWIGLU);
  size_t turn = 0;
  const double start = now_us();
  for ([[maybe_unused]] auto _ : state) {
    args.b_packed = weights[turn++ % weights.size()];
    must(tw_gemm(&args, o.comm, nullptr));
  }
  const double us = (now_us() - start) / static_cast<double>(turn);
  const double m = static_cast<double>(args.m);
  const double operations = 2 * m * kN * kK;
  const double bytes = kWeightBytes + kElement * m * (kK + static_cast<double>(args.n));
  const double bound = std::max(operations / o.tflops * 1e-6, bytes / o.dram_gbs * 1e-3);
  state.counters["TFLOP/s"] = operations / us * 1e-6;
  state.counters["GB/s"] = bytes / us * 1e-3;
  state.counters["roofline"] = bound / us;
}

class Case final : public benchmark::internal::Benchmark {
 public:
  Case(const std::string& name, std::function<void(benchmark::State&)> body)
      : Benchmark(name.c_str()), body_(std::move(body)) {}
  void Run(benchmark::State& state) override { body_(state); }

 private:
  std::function<void(benchmark::State&)> body_;
};

benchmark::internal::Benchmark* add(const std::string& name,
                                    std::function<void(benchmark::State&)> body) {
  // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDeleteLeaks): the library's registry owns it
  return benchmark::internal::RegisterBenchmarkInternal(new Case(name, std::move(body)))
      ->Unit(benchmark::kMicrosecond);
}

void add_gemm(const std::string& name, Epilogue epilogue) {
  auto* one = add("gemm/" + name, [epilogue = std::move(epilogue)](benchmark::State& state) {
    gemm(state, epilogue);
  });
  for (const int64_t m : {1, 8, 64, 512}) one->Arg(m);
}

Epilogue activation(tw_activation_t which) {
  return [which](tw_gemm_args_t* args, const Operands&) { args->activation = which; };
}

void add_all() {
  add("pack/rows", [](benchmark::State& state) { pack(state, false); });
  add("pack/transposed", [](benchmark::State& state) { pack(state, true); });
  add_gemm("plain", activation(TW_ACTIVATION_NONE));
  add_gemm("gelu", activation(TW_GELU));
  add_gemm("silu", activation(TW_SILU));
  add_gemm("swiglu", [](tw_gemm_args_t* args, const Operands&) {
    args->activation = TW_SWIGLU;
    args->n = kN / 2;
  });
  add_gemm("bias", [](tw_gemm_args_t* args, const Operands& o) { args->bias = o.row; });
  add_gemm("residual",
           [](tw_gemm_args_t* args, const Operands& o) { args->residual = o.residual; });
  add_gemm("residual_norm", [](tw_gemm_args_t* args, const Operands& o) {
    args->residual = o.residual;
    args->hidden = o.hidden;
    args->norm_weight = o.row;
  });
}

}  // namespace
}  // namespace tw::perf

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  tw::perf::bind_to_cores(1, 0, 1);
  tw::perf::add_all();
  benchmark::RunSpecifiedBenchmarks();
}
