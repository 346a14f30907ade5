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

// Vectors that a target's instructions may use. Tests compile cpu_amx's source for the baseline,
// over an emulation of the tiles: then there are none.
#if defined(TW_TARGET_CPU_AMX) || defined(TW_TARGET_CPU_AVX512_BF16) || \
    defined(TW_TARGET_CPU_AVX512)
#if defined(__AVX512F__)
#define TW_TARGET_VECTOR_512
#endif
#elif defined(TW_TARGET_CPU_AVX2)
#define TW_TARGET_VECTOR_256
#endif

namespace TW_NS {

struct Target {
#if defined(TW_TARGET_CPU_AMX)
  static constexpr const char* kName = "cpu_amx";
#elif defined(TW_TARGET_CPU_AVX512_BF16)
  static constexpr const char* kName = "cpu_avx512_bf16";
#elif defined(TW_TARGET_CPU_AVX512)
  static constexpr const char* kName = "cpu_avx512";
#elif defined(TW_TARGET_CPU_AVX2)
  static constexpr const char* kName = "cpu_avx2";
#else
  static constexpr const char* kName = "cpu_portable";
#endif
#if defined(TW_TARGET_VECTOR_512)
  static constexpr int kVectorBytes = 64;
#elif defined(TW_TARGET_VECTOR_256)
  static constexpr int kVectorBytes = 32;
#else
  static constexpr int kVectorBytes = 16;
#endif
  /// A packet is one cache line: 56 bytes of payload, then the word that makes it valid.
  static constexpr size_t kPacketBytes = kCpuFraming.packet_bytes;
  static constexpr size_t kPacketPayload = kCpuFraming.packet_payload;
  static constexpr bool kPacketsOrder = true;
  static constexpr size_t kGranule = kCpuFraming.granule;
};

}  // namespace TW_NS
