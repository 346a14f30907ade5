// Who takes part in an op of the device views (window_device.h, signal_device.h): ThisThread,
// ThisWarp or ThisBlock. All threads of the group call the op together, with equal arguments. On
// GPUs a warp is 32 consecutive threads of a block whose size is a multiple of 32; on CPUs all
// three are the calling thread.
//
// A group has
//   int lane() const, lanes() const       this thread's number in the group, and how many there are
//   void sync() const                     barrier; orders the group's memory accesses
//   bool all(bool) const                  barrier; true when every thread says so
//   uint64_t from_first(uint64_t) const   barrier; what lane 0 passed
#pragma once

#include "tilewire/tile/target.h"

#if defined(__CUDACC__)
#include "tilewire/tile/impl/gpu/group.h"
#else
#include "tilewire/tile/impl/cpu/group.h"
#endif
