// The pipes between a server and the tool that sends it cases, and what goes through them.
#pragma once

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace tw::perf {

struct CloseFile {
  void operator()(FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<FILE, CloseFile>;

inline File open_pipe(const std::string& path, const char* mode) {
  File file(std::fopen(path.c_str(), mode));
  if (!file) throw std::runtime_error(path + ": " + std::strerror(errno));
  return file;
}

// A member of an answer after its first: , "name": [...].
inline void write_list(FILE* out, const char* name, const std::vector<double>& values) {
  std::fprintf(out, ", \"%s\": [", name);
  for (size_t i = 0; i < values.size(); ++i) std::fprintf(out, "%s%.4f", i ? ", " : "", values[i]);
  std::fprintf(out, "]");
}

}  // namespace tw::perf
