// What a traced launch noted, as JSON that Chrome's tracing and Perfetto read: devices are
// processes, blocks threads; of each instruction the time that it waited, then the time that it
// worked.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "tilewire/kernels/program.h"

namespace tw {

class TraceFile {
 public:
  TraceFile(const std::string& path, const std::vector<std::string>& op_names,
            const std::vector<ProgramOp>& ops);
  void add(int device, const ProgramRecord* records, size_t count);
  /// Why the file is not whole; "" when it is.
  std::string close();

 private:
  void event(const char* name, const char* category, int device, const ProgramRecord& record,
             uint64_t start, uint64_t end);
  void note(bool went_well);

  const std::string path_;
  const std::vector<std::string>& names_;
  const std::vector<ProgramOp>& ops_;
  std::FILE* file_;
  uint64_t first_ = 0;  // the first device's earliest start; times are from there
  bool any_ = false;
  int error_ = 0;  // errno of the first failure
};

}  // namespace tw
