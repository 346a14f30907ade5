#include "lib/device/probe.h"

#include <dlfcn.h>
#include <signal.h>

#include <vector>

#include "lib/base/error.h"
#include "lib/device/gpu/driver.h"

namespace tw {
namespace {

/// Keeps the program's signal handlers: UCX installs some when it is loaded.
class KeepSignals {
 public:
  KeepSignals() : before_(NSIG) {
    for (int s = 1; s < NSIG; ++s) sigaction(s, nullptr, &before_[static_cast<size_t>(s)]);
  }
  KeepSignals(const KeepSignals&) = delete;
  KeepSignals& operator=(const KeepSignals&) = delete;
  ~KeepSignals() {
    for (int s = 1; s < NSIG; ++s) {
      const struct sigaction& before = before_[static_cast<size_t>(s)];
      struct sigaction now;
      if (sigaction(s, nullptr, &now) == 0 && now.sa_sigaction != before.sa_sigaction)
        sigaction(s, &before, nullptr);
    }
  }

 private:
  std::vector<struct sigaction> before_;
};

void* open_library(const char* file, std::string& why) {
  const KeepSignals keep;
  void* const library = dlopen(file, RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const said = dlerror();
    why = said != nullptr ? said : "dlopen failed";
  }
  return library;
}

template <class Function>
Function* function(void* library, const char* name) {
  return reinterpret_cast<Function*>(dlsym(library, name));
}

std::string describe_nccl() {
  std::string why;
  void* const nccl = open_library("libnccl.so.2", why);
  if (nccl == nullptr) return "not found: " + why;
  auto* const version = function<int(int*)>(nccl, "ncclGetVersion");
  int number = 0;
  if (version == nullptr || version(&number) != 0) return "found libnccl.so.2, version unknown";
  return text("%d.%d.%d (not used by tilewire; a peer of the benchmarks)", number / 10000,
              number / 100 % 100, number % 100);
}

std::string describe_ucx() {
  std::string why;
  void* const ucx = open_library("libucp.so.0", why);
  if (ucx == nullptr) return "not found: " + why;
  auto* const version = function<const char*()>(ucx, "ucp_get_version_string");
  return text("%s (not used: this version of tilewire has no transport between machines)",
              version == nullptr ? "version unknown" : version());
}

}  // namespace

std::string describe_libraries() {
  return "cuda       " + gpu::describe() + "\nnccl       " + describe_nccl() + "\nucx        " +
         describe_ucx() + "\n";
}

}  // namespace tw
