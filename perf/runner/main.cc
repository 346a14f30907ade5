// The main program of every perf/<op>_perf and of every peer: joins, binds, measures, reports.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <thread>

#include "perf/runner/bind.h"
#include "perf/runner/options.h"
#include "perf/runner/report.h"
#include "perf/runner/serve.h"

namespace tw::perf {
namespace {

Result measure_one(Measure& measure, const Options& options, Case c, bool in_place) {
  Result result;
  const Placement other = in_place ? Placement::kOutOfPlace : Placement::kInPlace;
  if (options.placement == other || (in_place && !c.op->has_in_place())) return result;
  c.in_place = in_place;
  if (options.check) result.wrong = measure.check(c);
  result.us = median(measure.time(c, options.loop, options.check ? &result.wrong : nullptr));
  result.measured = true;
  return result;
}

// Returns the number of wrong elements.
uint64_t measure_all(Backend& backend, const Options& options) {
  // First: it may fail to open its file, and memory is given back together with the peers.
  Report report(backend.rank(), backend.size(), options.json);
  Measure measure(backend, options.max_bytes, options.backend.memory, options.rotate);
  report.header(*options.op, backend_name(), options.check);
  const std::vector<tw_op_t> no_redop{TW_SUM};
  uint64_t wrong = 0;
  for (const tw_type_t type : options.types)
    for (const tw_op_t redop : options.op->reduces() ? options.redops : no_redop)
      for (const size_t bytes : options.sizes()) {
        const Case c{options.op, bytes, type, redop, options.root, false};
        const size_t element = type_row(type).bytes;
        const size_t count = options.op->count(bytes, element, backend.size());
        const Result out = measure_one(measure, options, c, false);
        const Result in = measure_one(measure, options, c, true);
        wrong += out.wrong + in.wrong;
        report.row(c, options.op->bytes(count, element, backend.size()), count, out, in);
        if (options.op->count(1 << 20, element, backend.size()) == 0) break;  // a barrier: one size
      }
  report.footer();
  return wrong;
}

int run_rank(const Options& options, int thread) {
  if (options.bind && thread > 0) bind_to_cores(options.backend.threads, thread, 1);
  const auto backend = backend_join(options.backend, thread);
  if (options.root >= backend->size())
    throw std::runtime_error("-r " + std::to_string(options.root) + " is not below the " +
                             std::to_string(backend->size()) + " ranks");
  return options.serve.empty() ? measure_all(*backend, options) != 0 : serve(*backend, options);
}

// An exception cannot be told to the other ranks: end the process, so that the launcher ends them.
int run_rank_or_end(const Options& options, int thread) {
  try {
    return run_rank(options, thread);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank thread %d: %s\n", thread, error.what());
    std::fflush(nullptr);
    std::_Exit(1);
  }
}

int run(int argc, char** argv) {
  const Options options = parse_options(argc, argv);
  const int threads = options.backend.threads;
  if (options.bind) bind_to_cores(threads, 0, 1);  // before MPI_Init, which may look
  backend_start(threads);
  if (threads > 1 && !backend_threads_allowed())
    throw std::runtime_error("-g: this library has one rank per process");
  if (backend_processes() * threads == 1 && !options.alone)
    throw std::runtime_error(
        "a world of one rank: start with mpirun -np 2 or tw_run -n 2, or say -g 2 or --alone");
  std::vector<int> status(static_cast<size_t>(threads), 0);
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t)
    others.emplace_back(
        [&options, &status, t] { status[static_cast<size_t>(t)] = run_rank_or_end(options, t); });
  status[0] = run_rank_or_end(options, 0);
  for (std::thread& other : others) other.join();
  backend_stop();
  for (const int s : status)
    if (s) return s;
  return 0;
}

}  // namespace
}  // namespace tw::perf

int main(int argc, char** argv) {
  try {
    return tw::perf::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    std::fflush(nullptr);
    std::_Exit(1);
  }
}
