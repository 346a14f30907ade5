// TW_TILE_KERNEL on CPUs: one plain function per kernel and target (tw::CpuEntry).
#pragma once

#include <type_traits>

#include "tilewire/tile/tile_block.h"

#define TW_TILE_KERNEL(name, Args)                                  \
  static_assert(std::is_trivially_copyable_v<Args>);                \
  void name##_entry(const void* args, int block, int blocks);       \
  void name##_entry(const void* args, int block, int blocks) {      \
    const Args& arguments = *static_cast<const Args*>(args);        \
    ::TW_NS::TileBlock self(block, blocks, #name, arguments.tiles); \
    name(self, arguments);                                          \
  }
#define TW_TILE_KERNEL_OF(name, Args, type) TW_TILE_KERNEL(name, Args)
