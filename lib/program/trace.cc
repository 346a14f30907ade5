#include "lib/program/trace.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "lib/base/error.h"

namespace tw {

TraceFile::TraceFile(const std::string& path, const std::vector<std::string>& op_names,
                     const std::vector<ProgramOp>& ops)
    : path_(path), names_(op_names), ops_(ops), file_(std::fopen(path.c_str(), "w")) {
  failed_ = file_ == nullptr || std::fputs("{\"traceEvents\": [", file_) < 0;
}

void TraceFile::add(int device, const ProgramRecord* records, size_t count) {
  if (first_ == 0 && count != 0)
    first_ = std::min_element(records, records + count, [](const auto& a, const auto& b) {
               return a.start < b.start;
             })->start;
  for (size_t i = 0; i < count && !failed_; ++i) {
    const ProgramRecord& r = records[i];
    const char* const name = names_[r.op].c_str();
    if (r.ready > r.start) event(name, "wait", device, r, r.start, r.ready);
    event(name, "work", device, r, r.ready, r.end);
  }
}

void TraceFile::event(const char* name, const char* category, int device,
                      const ProgramRecord& record, uint64_t start, uint64_t end) {
  const auto microseconds = [this](uint64_t t) {
    return (static_cast<double>(t) - static_cast<double>(first_)) / 1000;
  };
  const uint32_t layer = ops_[record.op].layer;
  const int written = std::fprintf(
      file_,
      "%s\n{\"name\": \"%s\", \"cat\": \"%s\", \"ph\": \"X\", \"pid\": %d, \"tid\": %u, "
      "\"ts\": %.3f, \"dur\": %.3f, \"args\": {\"layer\": %d}}",
      any_ ? "," : "", name, category, device, record.block, microseconds(start),
      microseconds(end) - microseconds(start), layer == UINT32_MAX ? -1 : static_cast<int>(layer));
  any_ = true;
  failed_ = written < 0;
}

std::string TraceFile::close() {
  const int error = errno;
  if (file_ != nullptr) {
    failed_ |= std::fputs("\n]}\n", file_) < 0;
    failed_ |= std::fclose(file_) != 0;
  }
  return failed_ ? text("cannot write the trace to %s: %s", path_.c_str(), std::strerror(error))
                 : "";
}

}  // namespace tw
