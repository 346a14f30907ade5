// Constants of the GPU targets.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/comm_view.h"
#include "tilewire/tile/gpu_launch.h"

/// Everything that runs in a kernel is inlined, but for functions that say otherwise: those are
/// called, without a stack, and must not take part in matrix multiplication (a wgmma would wait).
#define TW_FN __device__ __forceinline__
#define TW_CALLED_FN static __device__ __noinline__
#define TW_INLINE __device__ __forceinline__

namespace TW_NS {

struct Target {
#if defined(TW_TARGET_SM_80)
  static constexpr const char* kName = "sm_80";
  static constexpr bool kMulticast = false;  // addresses that reach every device are not used
#else
  static constexpr const char* kName = "sm_90a";
  static constexpr bool kMulticast = true;
#endif
  /// Threads of a block: launches use exactly this many.
  static constexpr int kThreads = kMessageThreads;
  /// A packet is one 16-byte access: 8 bytes of payload, then the word that makes it valid.
  static constexpr size_t kPacketBytes = kGpuFraming.packet_bytes;
  static constexpr size_t kPacketPayload = kGpuFraming.packet_payload;
  /// Packets are system-scope relaxed: they order nothing but their own payload (impl/gpu/block.h).
  static constexpr bool kPacketsOrder = false;
  static constexpr size_t kGranule = kGpuFraming.granule;
};

}  // namespace TW_NS
