// Bulk copies: the async proxy moves bytes between global and shared memory while threads go on.
// Into shared memory they complete on an mbarrier, out of it in a group of the thread that issued
// them. Addresses and sizes are multiples of 16 bytes.
//
// Proxies. What threads wrote reaches a bulk copy only across `fence.proxy.async`, made by the
// writer (shared memory) or after an acquire (global memory that others wrote). What a bulk copy
// wrote or read is known to threads that waited for its completion: that includes the fence back.
#pragma once

#include <cstdint>

#include "tilewire/tile/impl/gpu/ptx/mbarrier.h"
#include "tilewire/tile/impl/gpu/ptx/memory.h"

namespace TW_NS::ptx {

/// Between own (or acquired) accesses to shared memory and later bulk copies and wgmma.
TW_FN void fence_proxy_async_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/// The same for all memory.
TW_FN void fence_proxy_async() { asm volatile("fence.proxy.async;" ::: "memory"); }

/// Before the first use of a tensor map that lies in global memory.
TW_FN void fence_tensor_map(const void* map) {
  asm volatile("fence.proxy.tensormap::generic.acquire.sys [%0], 128;" ::"l"(map) : "memory");
}

// ---- Global to shared ----

TW_FN void bulk_load(void* to, const void* from, uint32_t bytes, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(in_shared(to)),
      "l"(global(from)), "r"(bytes), "r"(in_shared(barrier))
      : "memory");
}

/// The box of the map at column `x` (innermost) and row `y`; zeros where it is out of range.
TW_FN void tensor_load(void* to, const void* map, int32_t x, int32_t y, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], "
      "[%1, {%2, %3}], [%4];" ::"r"(in_shared(to)),
      "l"(map), "r"(x), "r"(y), "r"(in_shared(barrier))
      : "memory");
}

// ---- Shared to global ----

TW_FN void bulk_store(void* to, const void* from, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(global(to)),
               "r"(in_shared(from)), "r"(bytes)
               : "memory");
}

/// Closes this thread's group of bulk stores.
TW_FN void bulk_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }

/// Until this thread's groups have read their sources: those may be written again.
TW_FN void bulk_wait_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }

/// Until this thread's groups are complete: what they wrote is there.
TW_FN void bulk_wait() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

}  // namespace TW_NS::ptx
