// What every kernel file includes: the block and TW_KERNEL.
//
//   namespace TW_NS {
//   template <class Block>
//   TW_FN void my_kernel(Block& block, const MyArgs& args) { ... }
//   TW_KERNEL(my_kernel, MyArgs)
//   }  // namespace TW_NS
//
// TW_KERNEL(name, Args) makes the entry that launches call: on CPUs
// `void name_entry(const void* args, int block, int blocks)` in TW_NS (tw::CpuEntry), on GPUs a
// __global__ function `name`. Args is trivially copyable; a member `CommView comm` or
// `tw_signal_view signals` gives the block its bounded waits.
//
// Launch rule. A launch has the same number of blocks on every rank. Block b talks only to the b-th
// blocks of peers, so a device with fewer workers than blocks may run them one after the other in
// increasing order, whatever the peers do.
#pragma once

#include "tilewire/tile/block.h"

#if defined(__CUDACC__)
#include "tilewire/tile/impl/gpu/kernel.h"
#else
#include "tilewire/tile/impl/cpu/kernel.h"
#endif
