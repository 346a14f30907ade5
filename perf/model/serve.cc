#include "perf/model/serve.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "perf/gemm/limits.h"
#include "perf/runner/pipe.h"

namespace tw::perf {

namespace {

struct Order {
  ModelCase c;
  Way other = Way::kOpByOp;
  int warm = 0, rounds = 0;
};

Order parse_order(const char* line, const ModelOptions& options) {
  char op[16], other[16];
  Order order;
  ModelCase& c = order.c;
  const int fields =
      std::sscanf(line, "%15s %" SCNu32 " %" SCNu32 " %" SCNu32 " %15s %d %d", op, &c.tokens,
                  &c.batch, &c.context, other, &order.warm, &order.rounds);
  c.decode = fields > 0 && std::strcmp(op, "decode") == 0;
  if (fields == 7 && std::strcmp(other, "traced") == 0) order.other = Way::kTraced;
  if (fields != 7 || std::count(options.cases.begin(), options.cases.end(), c) == 0)
    throw std::runtime_error(std::string("not a case of the command line: ") + line);
  return order;
}

void measure_case(ModelMeasure& measure, const Order& order, FILE* out) {
  const ModelTimes times = measure.time(order.c, order.other, order.warm, order.rounds);
  if (!out) return;
  std::fprintf(out, "{\"wrong\": %" PRIu64, times.wrong);
  write_list(out, "us", times.us);
  write_list(out, "other_us", times.other_us);
  std::fprintf(out, "}\n");
}

// Whether `line` asks for limits; then they have been measured.
bool measure_limits(Backend& backend, const char* line, FILE* out) {
  int dram = 0, multiply = 0;
  if (std::sscanf(line, "limits %d %d", &dram, &multiply) != 2) return false;
  backend.barrier();
  const double gbs = backend.sum(dram ? dram_read_gbs(1) : 0);
  const double tflops = backend.sum(multiply ? multiply_tflops() : 0);
  if (out) std::fprintf(out, "{\"dram_gbs\": %.4f, \"tflops\": %.4f}\n", gbs, tflops);
  return true;
}

}  // namespace

int serve_model(Backend& backend, tw_model_t model, ModelMeasure& measure,
                const ModelOptions& options) {
  File in = open_pipe(options.serve + "/in." + std::to_string(backend.rank()), "r");
  File out = backend.rank() == 0 ? open_pipe(options.serve + "/out", "w") : nullptr;
  const tw_model_desc_t desc = describe(model);
  if (out)
    std::fprintf(out.get(), "{\"name\": \"%s\", \"weight_bytes\": %.0f, \"kv_bytes\": %.0f}\n",
                 backend_name().c_str(), weight_bytes(desc), kv_bytes(desc));
  char line[256];
  do {
    if (out) std::fflush(out.get());
    if (!std::fgets(line, sizeof(line), in.get())) return 0;
    if (!measure_limits(backend, line, out.get()))
      measure_case(measure, parse_order(line, options), out.get());
  } while (true);
}

}  // namespace tw::perf
