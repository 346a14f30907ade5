// The CUDA driver, found when the program runs: libcuda.so.1, or the virtual GPUs' stand-in. The
// library links neither it nor the CUDA run-time.
#pragma once

#include <string>

#include "lib/device/gpu/cuda.h"

namespace tw::gpu {

/// The table of its functions. One a process, never closed.
class Driver {
 public:
  /// Throws UNSUPPORTED with the reason where there is no driver, it is too old, or has no GPU.
  static const Driver& get();
  /// "" where get() works, else the reason.
  static const std::string& why_not();

#define TW_GPU_FUNCTION(name, ...) Result (*name)(__VA_ARGS__) = nullptr;
#include "lib/device/gpu/functions.def"
#undef TW_GPU_FUNCTION

  int version() const { return version_; }  // 1000 * major + 10 * minor
  int gpus() const { return gpus_; }

  /// Throws what a failed call means: OUT_OF_MEMORY, else SYSTEM with the driver's words. `what`:
  /// the call, as "cuMemCreate".
  void check(Result result, const char* what) const {
    if (__builtin_expect(result != kSuccess, 0)) refuse(result, what);
  }
  /// "CUDA_ERROR_INVALID_VALUE (invalid argument)".
  std::string error_text(Result result) const;

 private:
  struct Loaded;
  static const Loaded& loaded();
  std::string load();  // "" or why not
  [[noreturn]] void refuse(Result result, const char* what) const;

  int version_ = 0;
  int gpus_ = 0;
};

/// Calls a function of the driver and throws what its failure means.
#define TW_GPU(driver, function, ...) (driver).check((driver).function(__VA_ARGS__), #function)

/// Makes a context current in this thread while it lives; the caller's own is current again then.
class ContextScope {
 public:
  ContextScope(const Driver& driver, Context context) : driver_(driver) {
    TW_GPU(driver, cuCtxPushCurrent, context);
  }
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;
  ~ContextScope() {
    Context own;
    driver_.cuCtxPopCurrent(&own);
  }

 private:
  const Driver& driver_;
};

/// Version and GPUs with the kernels that each would run, or why they cannot be used: a line for
/// people.
std::string describe();

}  // namespace tw::gpu
