// TW_KERNEL on GPUs: one __global__ function per kernel and target, without C++ name mangling, so
// that the host finds `name_entry` in the image. Launched with Target::kThreads threads a block.
#pragma once

#include <type_traits>

#include "tilewire/tile/block.h"

#define TW_KERNEL(name, Args)                                                             \
  static_assert(std::is_trivially_copyable_v<Args>);                                      \
  extern "C" __global__ void __launch_bounds__(::TW_NS::Target::kThreads, 1)              \
      name##_entry(const __grid_constant__ Args args) {                                   \
    ::TW_NS::Block self(static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x), #name, \
                        wait_context(args));                                              \
    name(self, args);                                                                     \
  }
