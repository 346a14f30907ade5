#include "perf/gemm/serve.h"

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "perf/gemm/limits.h"
#include "perf/runner/pipe.h"

namespace tw::perf {

namespace {

struct Order {
  GemmCase c;
  GemmLoop loop;
  bool check = false;
};

Order parse_order(const char* line) {
  char op[48];
  Order order;
  int check = 0;
  const int fields = std::sscanf(line, "%47s %zu %zu %zu %d %d %d %d %d", op, &order.c.m,
                                 &order.c.n, &order.c.k, &order.c.copies, &order.loop.iterations,
                                 &order.loop.warm, &order.loop.batches, &check);
  order.c.op = fields == 9 ? find_gemm_op(op) : nullptr;
  if (!order.c.op) throw std::runtime_error(std::string("not a case: ") + line);
  order.check = check != 0;
  return order;
}

void measure_case(GemmMeasure& measure, const char* line, FILE* out) {
  const Order order = parse_order(line);
  uint64_t wrong = order.check ? measure.check(order.c) : 0;
  const GemmTimes times = measure.time(order.c, order.loop, order.check ? &wrong : nullptr);
  if (!out) return;
  std::fprintf(out, "{\"iterations\": %d, \"wrong\": %" PRIu64, times.iterations, wrong);
  write_list(out, "us", times.whole);
  write_list(out, "call_us", times.call);
  std::fprintf(out, "}\n");
}

// Whether `line` asks for a choice; then it has been told.
bool tell_choice(GemmMeasure& measure, const char* line, FILE* out) {
  char op[48];
  GemmCase c;
  c.copies = 1;
  if (std::sscanf(line, "choice %47s %zu %zu %zu", op, &c.m, &c.n, &c.k) != 4) return false;
  c.op = find_gemm_op(op);
  if (!c.op) throw std::runtime_error(std::string("not an op: ") + line);
  const bool fuses = measure.fuses(c);
  if (out) std::fprintf(out, "{\"choice\": \"%s\"}\n", fuses ? "fused" : "unfused");
  return true;
}

// Whether `line` asks for limits; then they have been measured.
bool measure_limits(const char* line, int cores, FILE* out) {
  int dram = 0, multiply = 0;
  if (std::sscanf(line, "limits %d %d", &dram, &multiply) != 2) return false;
  if (out)
    std::fprintf(out, "{\"dram_gbs\": %.4f, \"tflops\": %.4f}\n", dram ? dram_read_gbs(cores) : 0,
                 multiply ? multiply_tflops() : 0);
  return true;
}

}  // namespace

int serve_gemm(Backend& backend, Engine& engine, const GemmOptions& options) {
  GemmMeasure measure(backend, engine);
  File in = open_pipe(options.serve + "/in." + std::to_string(backend.rank()), "r");
  File out = backend.rank() == 0 ? open_pipe(options.serve + "/out", "w") : nullptr;
  if (out) std::fprintf(out.get(), "{\"name\": \"%s\"}\n", engine_name().c_str());
  char line[256];
  do {
    if (out) std::fflush(out.get());
    if (!std::fgets(line, sizeof(line), in.get())) return 0;
    if (std::strcmp(line, "forget\n") == 0)
      measure.forget();
    else if (!tell_choice(measure, line, out.get()) &&
             !measure_limits(line, options.cores, out.get()))
      measure_case(measure, line, out.get());
  } while (true);
}

}  // namespace tw::perf
