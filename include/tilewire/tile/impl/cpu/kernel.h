// TW_KERNEL on CPUs: one plain function per kernel and target (tw::CpuEntry).
#pragma once

#include <type_traits>

#include "tilewire/tile/block.h"

#define TW_KERNEL(name, Args)                                           \
  static_assert(std::is_trivially_copyable_v<Args>);                    \
  void name##_entry(const void* args, int block, int blocks);           \
  void name##_entry(const void* args, int block, int blocks) {          \
    const Args& arguments = *static_cast<const Args*>(args);            \
    ::TW_NS::Block self(block, blocks, #name, wait_context(arguments)); \
    name(self, arguments);                                              \
  }
