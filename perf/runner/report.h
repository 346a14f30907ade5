// What rank 0 prints: nccl-tests' columns on stdout, one JSON object a measurement in a file.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "perf/runner/measure.h"

namespace tw::perf {

struct Result {
  double us = 0;
  uint64_t wrong = 0;
  bool measured = false;  // false: this placement was not asked for or does not exist
};

struct Bandwidth {
  double algorithm;  // GB/s
  double bus;
};
Bandwidth bandwidth(const Op& op, double bytes, double us, int n);

class Report {
 public:
  // Writes nothing when `rank` is not 0. `json_path` may be empty. Throws std::runtime_error when
  // the file cannot be opened.
  Report(int rank, int n, const std::string& json_path);
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;
  ~Report();

  void header(const Op& op, const std::string& backend, bool checked);
  // `bytes`: what was really sent, in whole elements.
  void row(const Case& c, size_t bytes, size_t count, const Result& out, const Result& in);
  void footer();

 private:
  void columns(const Case& c, size_t bytes, const Result& result);
  void json_line(const Case& c, size_t bytes, bool in_place, const Result& result);

  bool speaks_;
  bool checked_ = true;
  int n_;
  FILE* json_ = nullptr;
  double bus_sum_ = 0;
  int bus_count_ = 0;
  uint64_t wrong_ = 0;
};

}  // namespace tw::perf
