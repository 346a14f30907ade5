// The main program of every build/perf/<op>_perf that multiplies, and of their peers.
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "perf/gemm/options.h"
#include "perf/gemm/serve.h"
#include "perf/runner/bind.h"
#include "perf/runner/loops.h"

namespace tw::perf {
namespace {

// Returns the number of wrong elements.
uint64_t measure_all(Backend& backend, Engine& engine, const GemmOptions& options) {
  GemmMeasure measure(backend, engine);
  const bool speaks = backend.rank() == 0;
  if (speaks)
    std::printf("# %s over %d ranks, %s\n# %6s %7s %7s %12s %12s %9s %7s\n", options.op->name(),
                backend.size(), engine_name().c_str(), "m", "n", "k", "us", "call us", "TFLOP/s",
                "wrong");
  uint64_t all_wrong = 0;
  for (const size_t m : options.m) {
    const GemmCase c{options.op, m, options.n, options.k, options.copies};
    uint64_t wrong = options.check ? measure.check(c) : 0;
    const GemmTimes times = measure.time(c, options.loop, options.check ? &wrong : nullptr);
    const Product product = options.op->product({0, backend.size(), m, options.n, options.k});
    const double operations = 2.0 * static_cast<double>(product.m) *
                              static_cast<double>(product.n) * static_cast<double>(product.k);
    const double us = median(times.call);
    if (speaks)
      std::printf("%8zu %7zu %7zu %12.2f %12.2f %9.4f %7zu\n", m, options.n, options.k,
                  median(times.whole), us, operations / us * 1e-6, static_cast<size_t>(wrong));
    all_wrong += wrong;
  }
  if (speaks && all_wrong) std::printf("# FAILED: wrong results\n");
  std::fflush(stdout);
  backend.barrier();  // a launcher ends the others when the first one fails
  return all_wrong;
}

int run(int argc, char** argv) {
  const GemmOptions options = parse_gemm_options(argc, argv);
  if (options.bind) bind_to_cores(1, 0, options.cores);
  backend_start(1);
  int status;
  {
    const auto backend = backend_join({}, 0);
    const auto engine = make_engine(*backend);
    status = options.serve.empty() ? measure_all(*backend, *engine, options) != 0
                                   : serve_gemm(*backend, *engine, options);
  }
  backend_stop();
  return status;
}

}  // namespace
}  // namespace tw::perf

// An exception cannot be told to the other ranks: end the process, so that the launcher ends them.
int main(int argc, char** argv) {
  try {
    return tw::perf::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    std::fflush(nullptr);
    std::_Exit(1);
  }
}
