// Which CPU target this machine runs.
//
// CPUID says what the CPU has, XGETBV whether the operating system keeps the registers. A target
// needs all that its -march lets the compiler use: cpu_avx2 is x86-64-v3, cpu_avx512 x86-64-v4 (F,
// BW, CD, DQ, VL), cpu_avx512_bf16 and cpu_amx add BF16 and AMX, which hypervisors may hide. Linux
// gives a process the tiles' registers only when it asks.
#include "lib/device/isa.h"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "lib/base/config.h"
#include "lib/base/error.h"
#include "lib/device/device.h"

namespace tw {
namespace {

constexpr const char* kNames[kCpuTargets] = {"cpu_amx", "cpu_avx512_bf16", "cpu_avx512", "cpu_avx2",
                                             "cpu_portable"};

/// A property of the CPU, usable here or not, and the narrowest target that needs it.
struct Feature {
  const char* name;
  CpuTarget needed_by;  // kPortable: no target does; shown only
  bool usable;
};

#if defined(__x86_64__)

struct Leaf {
  unsigned a = 0, b = 0, c = 0, d = 0;
  Leaf(unsigned leaf, unsigned subleaf) { __get_cpuid_count(leaf, subleaf, &a, &b, &c, &d); }
};

constexpr bool bit(unsigned word, int index) { return (word >> index & 1) != 0; }

__attribute__((target("xsave"))) uint64_t read_xcr0() { return __builtin_ia32_xgetbv(0); }

std::vector<Feature> detect() {
  const Leaf one(1, 0), seven(7, 0), seven_one(7, 1), extended(0x80000001, 0);
  const uint64_t saved = bit(one.c, 27) ? read_xcr0() : 0;  // OSXSAVE
  const bool ymm = (saved & 0x6) == 0x6;                    // XMM, YMM
  const bool zmm = (saved & 0xe6) == 0xe6;                  // and masks, ZMM
  const bool tiles = (saved & 0x60000) == 0x60000;          // AMX
  constexpr CpuTarget k2 = CpuTarget::kAvx2, k512 = CpuTarget::kAvx512,
                      kBf16 = CpuTarget::kAvx512Bf16, kAmx = CpuTarget::kAmx,
                      kShown = CpuTarget::kPortable;
  return {{"avx2", k2, ymm && bit(seven.b, 5)},
          {"fma", k2, ymm && bit(one.c, 12)},
          {"f16c", k2, ymm && bit(one.c, 29)},
          {"bmi1", k2, bit(seven.b, 3)},
          {"bmi2", k2, bit(seven.b, 8)},
          {"lzcnt", k2, bit(extended.c, 5)},
          {"movbe", k2, bit(one.c, 22)},
          {"popcnt", k2, bit(one.c, 23)},
          {"avx512f", k512, zmm && bit(seven.b, 16)},
          {"avx512bw", k512, zmm && bit(seven.b, 30)},
          {"avx512cd", k512, zmm && bit(seven.b, 28)},
          {"avx512dq", k512, zmm && bit(seven.b, 17)},
          {"avx512vl", k512, zmm && bit(seven.b, 31)},
          {"avx512_bf16", kBf16, zmm && bit(seven_one.a, 5)},
          {"avx512_fp16", kShown, zmm && bit(seven.d, 23)},
          {"amx_tile", kAmx, tiles && bit(seven.d, 24)},
          {"amx_bf16", kAmx, tiles && bit(seven.d, 22)},
          {"amx_int8", kShown, tiles && bit(seven.d, 25)}};
}

/// Lets this process use the tiles' registers; "" or why not.
std::string ask_for_tiles() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XTILEDATA
  if (syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0) return "";
  return text("the operating system denies this process the registers of AMX: %s",
              std::strerror(errno));
}

#else

std::vector<Feature> detect() { return {}; }
std::string ask_for_tiles() { return ""; }

#endif

const std::vector<Feature>& features() {
  static const std::vector<Feature> all = detect();
  return all;
}

/// TW_BUILT_TARGETS: "cpu_avx512 cpu_avx2 ...".
bool built(CpuTarget target) {
  const std::string all = std::string(" ") + TW_BUILT_TARGETS + " ";
  return all.find(std::string(" ") + kNames[static_cast<int>(target)] + " ") != std::string::npos;
}

/// "cpu_avx2, cpu_portable".
std::string runnable_names() {
  std::string names;
  for (int i = 0; i < kCpuTargets; ++i)
    if (cpu_runs(static_cast<CpuTarget>(i)))
      names += (names.empty() ? "" : ", ") + std::string(kNames[i]);
  return names;
}

/// What `target` lacks here, "" when it runs.
std::string missing(CpuTarget target) {
  if (!built(target)) return "it is not part of this build";
  std::string lacks;
  for (const Feature& feature : features())
    if (!feature.usable && feature.needed_by >= target && feature.needed_by != CpuTarget::kPortable)
      lacks += (lacks.empty() ? "this CPU lacks " : ", ") + std::string(feature.name);
  if (!lacks.empty() || target != CpuTarget::kAmx) return lacks;
  static const std::string denied = ask_for_tiles();
  return denied;
}

}  // namespace

const char* cpu_target_name(CpuTarget target) { return kNames[static_cast<int>(target)]; }

bool cpu_runs(CpuTarget target) { return missing(target).empty(); }

CpuTarget cpu_target() {
  const std::string wanted = config::string("TW_DEVICE_TARGET");
  for (int i = 0; i < kCpuTargets; ++i) {
    const CpuTarget target = static_cast<CpuTarget>(i);
    if (wanted == "auto" && cpu_runs(target)) return target;
    if (wanted != kNames[i]) continue;
    const std::string why = missing(target);
    if (why.empty()) return target;
    fail(TW_ERROR_UNSUPPORTED, "TW_DEVICE_TARGET=\"%s\": %s; valid here: auto, %s", wanted.c_str(),
         why.c_str(), runnable_names().c_str());
  }
  fail(TW_ERROR_INVALID_ARGUMENT,
       "TW_DEVICE_TARGET=\"%s\"; valid: auto, cpu_amx, cpu_avx512_bf16, cpu_avx512, cpu_avx2,"
       " cpu_portable",
       wanted.c_str());
}

std::string describe_isa() {
  std::string found;
  for (const Feature& feature : features())
    if (feature.usable) found += std::string(found.empty() ? "" : " ") + feature.name;
  std::string out =
      text("found           %s\n", found.empty() ? "nothing beyond the baseline" : found.c_str());
  for (int i = 0; i < kCpuTargets; ++i) {
    const std::string why = missing(static_cast<CpuTarget>(i));
    out += text("%-15s %s\n", kNames[i], why.empty() ? "runs here" : why.c_str());
  }
  try {
    out += text("chosen          %s (TW_DEVICE_TARGET=%s)\n", cpu_target_name(cpu_target()),
                config::string("TW_DEVICE_TARGET").c_str());
  } catch (const Error& error) {
    out += text("chosen          none: %s\n", error.what());
  }
  return out;
}

}  // namespace tw
