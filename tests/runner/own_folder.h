// Where a test's program lies.
#pragma once

#include <unistd.h>

#include <climits>
#include <string>

namespace tw::test {

/// The folder of this program (build/tests), or the one `up` folders above it; without a slash.
inline std::string own_folder(int up = 0) {
  char own[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/exe", own, sizeof own - 1);
  std::string path(own, static_cast<size_t>(length > 0 ? length : 0));
  for (int i = 0; i <= up; ++i) path.resize(path.find_last_of('/'));
  return path;
}

/// The virtual GPUs' driver of this build.
inline std::string virtual_driver() { return own_folder(1) + "/lib/vgpu/libcuda.so.1"; }

}  // namespace tw::test
