#include "perf/model/run.h"

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "lib/cli/tw_generate/synthetic.h"
#include "perf/model/serve.h"
#include "perf/runner/bind.h"
#include "perf/runner/loops.h"
#include "tilewire/cpp.h"

namespace tw::perf {

namespace {

cpp::Model make_model(tw_comm_t comm, const ModelOptions& options) {
  if (options.file.empty()) return cli::make_synthetic(comm, shape_of(options));
  tw_model_t model = nullptr;
  cpp::check(tw_model_load(comm, options.file.c_str(), nullptr, &model));
  return cpp::Model(model);
}

// Returns the number of wrong results.
uint64_t measure_all(Backend& backend, ModelMeasure& measure, const ModelOptions& options) {
  const bool speaks = backend.rank() == 0;
  if (speaks)
    std::printf("# %s over %d ranks, %s\n# %7s %6s %5s %7s %12s %12s %10s %10s %6s\n",
                options.file.empty() ? options.shape.c_str() : options.file.c_str(), backend.size(),
                backend_name().c_str(), "op", "tokens", "batch", "context", "us/step", "op by op",
                "tokens/s", "op by op", "wrong");
  uint64_t all_wrong = 0;
  for (const ModelCase& c : options.cases) {
    const ModelTimes times = measure.time(c, Way::kOpByOp, 1, options.rounds);
    const double us = median(times.us), by_ops = median(times.other_us);
    const double steps = c.steps(), tokens = 1e6 * c.batch * c.tokens;
    if (speaks)
      std::printf("%9s %6" PRIu32 " %5" PRIu32 " %7" PRIu32 " %12.2f %12.2f %10.1f %10.1f %6" PRIu64
                  "\n",
                  c.decode ? "decode" : "prefill", c.tokens, c.batch, c.context, us / steps,
                  by_ops / steps, tokens / us, tokens / by_ops, times.wrong);
    all_wrong += times.wrong;
  }
  if (speaks && all_wrong) std::printf("# FAILED: wrong results\n");
  std::fflush(stdout);
  backend.barrier();  // a launcher ends the others when the first one fails
  return all_wrong;
}

int run(const ModelOptions& options) {
  if (options.bind) bind_to_cores(1, 0, 1);
  backend_start(1);
  int status;
  {
    const auto backend = backend_join({}, 0);
    const cpp::Model model = make_model(backend->comm(), options);
    ModelMeasure measure(*backend, model.get(), limits_for(options.cases, !options.rows),
                         options.rows);
    status = options.serve.empty() ? measure_all(*backend, measure, options) != 0
                                   : serve_model(*backend, model.get(), measure, options);
  }
  backend_stop();
  return status;
}

}  // namespace

// An exception cannot be told to the other ranks: end the process, so that the launcher ends them.
int run_model(const char* program, const ModelOptions& options) {
  try {
    return run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", program, error.what());
    std::fflush(nullptr);
    std::_Exit(1);
  }
}

}  // namespace tw::perf
