#include "lib/net/process.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

#include "lib/base/error.h"
#include "lib/base/random.h"

namespace tw::net {
namespace {

std::string first_line(const char* path) {
  std::ifstream file(path);
  if (!file) fail_errno(path, errno);
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

uint64_t process_id() {
  static const auto id = random_value<uint64_t>();
  return id;
}

std::string host_id() {
  struct stat ns = {};
  stat("/proc/self/ns/net", &ns);
  return text("boot %s, user %u, network namespace %lu",
              first_line("/proc/sys/kernel/random/boot_id").c_str(), geteuid(),
              static_cast<unsigned long>(ns.st_ino));
}

}  // namespace tw::net
