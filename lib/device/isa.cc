// Which CPU target this machine runs.
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "lib/base/config.h"
#include "lib/base/error.h"
#include "lib/device/device.h"

namespace tw {
namespace {

constexpr const char* kNames[kCpuTargets] = {"cpu_avx512", "cpu_avx2", "cpu_portable"};

#if defined(__x86_64__)
/// Parts of x86-64-v3 that clang 14's __builtin_cpu_supports does not know.
bool has_f16c_lzcnt() {
  unsigned a, b, c, d;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_F16C) == 0) return false;
  return __get_cpuid(0x80000001, &a, &b, &c, &d) != 0 && (c & (1u << 5)) != 0;
}
#endif

}  // namespace

const char* cpu_target_name(CpuTarget target) { return kNames[static_cast<int>(target)]; }

bool cpu_runs(CpuTarget target) {
#if defined(__x86_64__)
  // These also ask the operating system whether it keeps the registers.
  if (target == CpuTarget::kAvx512)
    return cpu_runs(CpuTarget::kAvx2) && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd");
  if (target == CpuTarget::kAvx2)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && has_f16c_lzcnt();
#endif
  return target == CpuTarget::kPortable;
}

CpuTarget cpu_target() {
  const std::string wanted = config::string("TW_DEVICE_TARGET");
  std::string runs;
  for (int i = 0; i < kCpuTargets; ++i) {
    const CpuTarget target = static_cast<CpuTarget>(i);
    const bool here = cpu_runs(target);
    if (here && wanted == "auto") return target;
    if (wanted == kNames[i]) {
      if (here) return target;
      fail(TW_ERROR_UNSUPPORTED,
           "TW_DEVICE_TARGET=\"%s\": this CPU cannot run it; valid here: auto,"
           " cpu_portable%s",
           wanted.c_str(), cpu_runs(CpuTarget::kAvx2) ? ", cpu_avx2" : "");
    }
  }
  fail(TW_ERROR_INVALID_ARGUMENT,
       "TW_DEVICE_TARGET=\"%s\"; valid: auto, cpu_avx512, cpu_avx2, cpu_portable", wanted.c_str());
}

}  // namespace tw
