// TW_KERNEL on CPUs: one plain function per kernel and target (tw::CpuEntry).
#pragma once

#include <type_traits>

#include "tilewire/tile/block.h"

namespace TW_NS {

template <class Args>
TW_FN WaitContext* wait_context(const Args& args) {
  if constexpr (requires { args.comm.wait; }) {
    return args.comm.wait;
  } else if constexpr (requires { args.signals.wait; }) {
    return args.signals.wait;
  } else {
    return nullptr;
  }
}

}  // namespace TW_NS

#define TW_KERNEL(name, Args)                                           \
  static_assert(std::is_trivially_copyable_v<Args>);                    \
  void name##_entry(const void* args, int block, int blocks);           \
  void name##_entry(const void* args, int block, int blocks) {          \
    const Args& arguments = *static_cast<const Args*>(args);            \
    ::TW_NS::Block self(block, blocks, #name, wait_context(arguments)); \
    name(self, arguments);                                              \
  }
