// Constants of the CPU targets.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/comm_view.h"

#define TW_FN inline

/// As TW_FN, but one copy serves all its callers in a kernel on targets where code size counts.
#define TW_CALLED_FN inline

/// For the few functions whose call would cost as much as their body.
#define TW_INLINE inline __attribute__((always_inline))

namespace TW_NS {

struct Target {
#if defined(TW_TARGET_CPU_AVX512)
  static constexpr const char* kName = "cpu_avx512";
  static constexpr int kVectorBytes = 64;
#elif defined(TW_TARGET_CPU_AVX2)
  static constexpr const char* kName = "cpu_avx2";
  static constexpr int kVectorBytes = 32;
#else
  static constexpr const char* kName = "cpu_portable";
  static constexpr int kVectorBytes = 16;
#endif
  /// A packet is one cache line: 56 bytes of payload, then the word that makes it valid.
  static constexpr size_t kPacketBytes = kCpuFraming.packet_bytes;
  static constexpr size_t kPacketPayload = kCpuFraming.packet_payload;
  static constexpr bool kPacketsOrder = true;
  static constexpr size_t kGranule = kCpuFraming.granule;
};

}  // namespace TW_NS
