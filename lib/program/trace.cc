#include "lib/program/trace.h"

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstring>

#include "lib/base/error.h"

namespace tw {

TraceFile::TraceFile(const std::string& path, const std::vector<std::string>& op_names,
                     const std::vector<ProgramOp>& ops)
    : path_(path), names_(op_names), ops_(ops), file_(std::fopen(path.c_str(), "w")) {
  note(file_ != nullptr && std::fputs("{\"traceEvents\": [", file_) >= 0);
}

void TraceFile::add(int device, const ProgramRecord* records, size_t count) {
  if (first_ == 0 && count != 0)
    first_ = std::min_element(records, records + count, [](const auto& a, const auto& b) {
               return a.start < b.start;
             })->start;
  for (size_t i = 0; i < count && error_ == 0; ++i) {
    const ProgramRecord& r = records[i];
    const char* const name = names_[r.op].c_str();
    if (r.ready > r.start) event(name, "wait", device, r, r.start, r.ready);
    event(name, "work", device, r, r.ready, r.end);
  }
}

void TraceFile::event(const char* name, const char* category, int device,
                      const ProgramRecord& record, uint64_t start, uint64_t end) {
  // Written as integers: a decimal point would be the locale's.
  const int64_t at = static_cast<int64_t>(start - first_);
  const uint64_t distance = static_cast<uint64_t>(at < 0 ? -at : at), length = end - start;
  const uint32_t layer = ops_[record.op].layer;
  const int written = std::fprintf(
      file_,
      "%s\n{\"name\": \"%s\", \"cat\": \"%s\", \"ph\": \"X\", \"pid\": %d, \"tid\": %u, "
      "\"ts\": %s%" PRIu64 ".%03" PRIu64 ", \"dur\": %" PRIu64 ".%03" PRIu64
      ", \"args\": {\"layer\": %d}}",
      any_ ? "," : "", name, category, device, record.block, at < 0 ? "-" : "", distance / 1000,
      distance % 1000, length / 1000, length % 1000,
      layer == UINT32_MAX ? -1 : static_cast<int>(layer));
  any_ = true;
  note(written >= 0);
}

std::string TraceFile::close() {
  if (file_ != nullptr) {
    note(std::fputs("\n]}\n", file_) >= 0);
    note(std::fclose(file_) == 0);
  }
  return error_ == 0
             ? ""
             : text("cannot write the trace to %s: %s", path_.c_str(), std::strerror(error_));
}

void TraceFile::note(bool went_well) {
  if (!went_well && error_ == 0) error_ = errno != 0 ? errno : EIO;
}

}  // namespace tw
