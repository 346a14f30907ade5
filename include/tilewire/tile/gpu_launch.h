// How hosts launch kernels on GPUs. Tile programs: threads of a block, and bytes of dynamic shared
// memory (more than 48 KiB: cuFuncSetAttribute comes first). The same for all programs of a target,
// which check them against what they need.
#pragma once

#include <cstddef>

namespace tw {

/// Threads of a block of the others: collectives and messages, on any target.
inline constexpr int kMessageThreads = 256;

struct TileLaunch {
  int threads;
  size_t shared_bytes;
};
inline constexpr TileLaunch kSm90aTiles{384, 230400};
inline constexpr TileLaunch kSm80Tiles{256, 98560};

}  // namespace tw
