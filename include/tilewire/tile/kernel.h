// What every kernel file includes: the block and TW_KERNEL.
//
//   namespace TW_NS {
//   template <class Block>
//   TW_FN void my_kernel(Block& block, const MyArgs& args) { ... }
//   TW_KERNEL(my_kernel, MyArgs)
//   }  // namespace TW_NS
//
// TW_KERNEL(name, Args) makes the entry that launches call: on CPUs
// `void name_entry(const void* args, int block, int blocks)` in TW_NS (tw::CpuEntry), on GPUs
// `__global__ void name_entry(Args args)` without name mangling, launched with Target::kThreads
// threads. Args is trivially copyable and has a member `CommView comm`, `tw_signal_view signals` or
// `tw_window_view window`, through which the block's waits are bounded.
//
// Launch rule. A launch has the same number of blocks on every rank. Block b talks only to the b-th
// blocks of peers, so a device with fewer workers than blocks may run them one after the other in
// increasing order, whatever the peers do.
#pragma once

#include "tilewire/tile/block.h"

namespace TW_NS {

/// Whether a kernel with these arguments can bound its waits.
template <class Args>
concept HasWaitContext = requires(const Args& args) {
  args.comm.wait;
}
|| requires(const Args& args) { args.signals.wait; }
|| requires(const Args& args) { args.window.wait; };

/// Where the waits of a kernel with these arguments find deadline and abort word.
template <HasWaitContext Args>
TW_FN WaitContext* wait_context(const Args& args) {
  if constexpr (requires { args.comm.wait; }) {
    return args.comm.wait;
  } else if constexpr (requires { args.signals.wait; }) {
    return args.signals.wait;
  } else {
    return args.window.wait;
  }
}

}  // namespace TW_NS

#if defined(__CUDACC__)
#include "tilewire/tile/impl/gpu/kernel.h"
#else
#include "tilewire/tile/impl/cpu/kernel.h"
#endif
