#include "perf/runner/report.h"

#include <cerrno>
#include <cinttypes>
#include <cstring>
#include <stdexcept>

#include "perf/runner/values.h"

namespace tw::perf {

Bandwidth bandwidth(const Op& op, double bytes, double us, int n) {
  const double algorithm = us > 0 ? bytes / us * 1e-3 : 0;
  return {algorithm, algorithm * op.bus_factor(n)};
}

Report::Report(int rank, int n, const std::string& json_path) : speaks_(rank == 0), n_(n) {
  if (!speaks_ || json_path.empty()) return;
  json_ = std::fopen(json_path.c_str(), "a");
  if (!json_) throw std::runtime_error(json_path + ": " + std::strerror(errno));
}

Report::~Report() {
  if (json_) std::fclose(json_);
}

void Report::header(const Op& op, const std::string& backend, bool checked) {
  checked_ = checked;
  if (!speaks_) return;
  std::printf("# %s over %d ranks, %s\n", op.name(), n_, backend.c_str());
  std::printf("#\n#%39s %41s %37s\n", "", "out-of-place", "in-place");
  std::printf("#%10s %12s %9s %7s %5s %9s %8s %7s %7s %9s %8s %7s %7s\n", "size", "count", "type",
              "redop", "root", "time", "algbw", "busbw", "#wrong", "time", "algbw", "busbw",
              "#wrong");
  std::printf("#%10s %12s %9s %7s %5s %9s %8s %7s %7s %9s %8s %7s %7s\n", "(B)", "(elements)", "",
              "", "", "(us)", "(GB/s)", "(GB/s)", "", "(us)", "(GB/s)", "(GB/s)", "");
}

void Report::columns(const Case& c, size_t bytes, const Result& result) {
  if (!result.measured) {
    std::printf(" %9s %8s %7s %7s", "-", "-", "-", "-");
    return;
  }
  const Bandwidth gbs = bandwidth(*c.op, static_cast<double>(bytes), result.us, n_);
  std::printf(" %9.2f %8.2f %7.2f ", result.us, gbs.algorithm, gbs.bus);
  if (checked_)
    std::printf("%7" PRIu64, result.wrong);
  else
    std::printf("%7s", "N/A");
  bus_sum_ += gbs.bus;
  ++bus_count_;
  wrong_ += result.wrong;
}

void Report::json_line(const Case& c, size_t bytes, bool in_place, const Result& result) {
  if (!json_ || !result.measured) return;
  const Bandwidth gbs = bandwidth(*c.op, static_cast<double>(bytes), result.us, n_);
  std::fprintf(json_,
               "{\"op\": \"%s\", \"bytes\": %zu, \"type\": \"%s\", \"ranks\": %d, "
               "\"in_place\": %s, \"us\": %.4f, \"algbw\": %.4f, \"busbw\": %.4f, \"wrong\": ",
               c.op->name(), bytes, type_row(c.type).name, n_, in_place ? "true" : "false",
               result.us, gbs.algorithm, gbs.bus);
  if (checked_)
    std::fprintf(json_, "%" PRIu64 "}\n", result.wrong);
  else
    std::fprintf(json_, "null}\n");
  std::fflush(json_);
}

void Report::row(const Case& c, size_t bytes, size_t count, const Result& out, const Result& in) {
  if (!speaks_) return;
  std::printf(" %10zu %12zu %9s %7s %5d", bytes, count, type_row(c.type).name,
              c.op->reduces() ? redop_name(c.redop) : "none", c.op->rooted() ? c.root : -1);
  columns(c, bytes, out);
  columns(c, bytes, in);
  std::printf("\n");
  std::fflush(stdout);
  json_line(c, bytes, false, out);
  json_line(c, bytes, true, in);
}

void Report::footer() {
  if (!speaks_) return;
  if (checked_)
    std::printf("# Wrong elements: %" PRIu64 " %s\n", wrong_, wrong_ ? "FAILED" : "OK");
  else
    std::printf("# Results were not checked\n");
  std::printf("# Avg bus bandwidth: %.4g\n", bus_count_ ? bus_sum_ / bus_count_ : 0.0);
}

}  // namespace tw::perf
