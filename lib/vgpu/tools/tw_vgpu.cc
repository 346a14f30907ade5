// tw_vgpu [options] program [arguments]: runs a program on virtual GPUs: with the library folder of
// the stand-in driver first in its search path, and the options as environment variables.
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

struct Option {
  const char* variable;
  const char* otherwise;
  const char* help;
};

constexpr Option kOptions[] = {
#define TW_VGPU_SETTING(variable, member, type, otherwise, help) {variable, #otherwise, help},
#include "lib/vgpu/driver/settings.def"
#undef TW_VGPU_SETTING
};

void print_help() {
  std::puts(
      "tw_vgpu [VARIABLE=value ...] program [arguments]\n"
      "runs a program that uses the CUDA driver API on virtual GPUs. Variables, also from the "
      "environment:");
  for (const Option& option : kOptions)
    std::printf("  %-20s %s (default %s)\n", option.variable, option.help, option.otherwise);
}

bool is_variable(const char* word) {
  const char* equals = std::strchr(word, '=');
  if (equals == nullptr) return false;
  for (const Option& option : kOptions)
    if (std::strlen(option.variable) == static_cast<size_t>(equals - word) &&
        std::strncmp(option.variable, word, static_cast<size_t>(equals - word)) == 0)
      return true;
  return false;
}

/// build/lib/vgpu beside build/bin, or the installed prefix's lib/vgpu.
std::string driver_folder() {
  char own[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/exe", own, sizeof own - 1);
  if (length <= 0) return {};
  std::string path(own, static_cast<size_t>(length));
  for (int up = 0; up < 2; ++up) path.resize(path.find_last_of('/'));
  return path + "/lib/vgpu";
}

}  // namespace

int main(int count, char** words) {
  int next = 1;
  for (; next < count && is_variable(words[next]); ++next) ::putenv(words[next]);
  if (next >= count || std::strcmp(words[next], "--help") == 0) {
    print_help();
    return next >= count ? 2 : 0;
  }
  const std::string folder = driver_folder();
  if (::access((folder + "/libcuda.so.1").c_str(), R_OK) != 0) {
    std::fprintf(stderr, "tw_vgpu: %s/libcuda.so.1 cannot be read\n", folder.c_str());
    return 2;
  }
  const char* before = std::getenv("LD_LIBRARY_PATH");
  const std::string path = before != nullptr ? folder + ":" + before : folder;
  ::setenv("LD_LIBRARY_PATH", path.c_str(), 1);
  ::execvp(words[next], words + next);
  std::fprintf(stderr, "tw_vgpu: %s: %s\n", words[next], std::strerror(errno));
  return 127;
}
