#include "perf/runner/serve.h"

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "perf/runner/pipe.h"

namespace tw::perf {

namespace {

struct Order {
  Case c;
  Loop loop;
  bool check = false;
};

Order parse_order(const char* line) {
  char op[32], type[16], redop[16], place[8];
  Order order;
  int check = 0;
  const int fields = std::sscanf(line, "%31s %zu %15s %15s %d %7s %d %d %d %d", op, &order.c.bytes,
                                 type, redop, &order.c.root, place, &order.loop.iterations,
                                 &order.loop.warm, &order.loop.batches, &check);
  const TypeRow* type_row = fields == 10 ? find_type(type) : nullptr;
  const RedopRow* redop_row = fields == 10 ? find_redop(redop) : nullptr;
  order.c.op = fields == 10 ? find_op(op) : nullptr;
  if (!type_row || !redop_row || !order.c.op)
    throw std::runtime_error(std::string("not a case: ") + line);
  order.c.type = type_row->type;
  order.c.redop = redop_row->redop;
  order.c.in_place = !std::strcmp(place, "in");
  order.check = check != 0;
  return order;
}

void answer(FILE* out, const Order& order, size_t bytes, uint64_t wrong,
            const std::vector<double>& us) {
  std::fprintf(out, "{\"bytes\": %zu, \"iterations\": %d, \"wrong\": %" PRIu64 ", \"us\": [", bytes,
               order.loop.iterations, wrong);
  for (size_t i = 0; i < us.size(); ++i) std::fprintf(out, "%s%.5f", i ? ", " : "", us[i]);
  std::fprintf(out, "]}\n");
  std::fflush(out);
}

}  // namespace

int serve(Backend& backend, const Options& options) {
  Measure measure(backend, options.max_bytes, options.backend.memory, options.rotate);
  File in = open_pipe(options.serve + "/in." + std::to_string(backend.rank()), "r");
  File out = backend.rank() == 0 ? open_pipe(options.serve + "/out", "w") : nullptr;
  if (out) {
    std::fprintf(out.get(), "{\"name\": \"%s\"}\n", backend_name().c_str());
    std::fflush(out.get());
  }
  char line[256];
  while (std::fgets(line, sizeof(line), in.get())) {
    Order order = parse_order(line);
    const Case& c = order.c;
    const size_t element = type_row(c.type).bytes;
    const size_t count = c.op->count(c.bytes, element, backend.size());
    uint64_t wrong = order.check ? measure.check(c) : 0;
    if (order.loop.iterations <= 0)
      order.loop.iterations = measure.iterations_for(
          c, order.loop, order.loop.iterations < 0 ? -order.loop.iterations : kBatchMicroseconds);
    const auto us = measure.time(c, order.loop, order.check ? &wrong : nullptr);
    if (out) answer(out.get(), order, c.op->bytes(count, element, backend.size()), wrong, us);
  }
  return 0;
}

}  // namespace tw::perf
