// Asynchronous copies of 16 bytes by a thread, global to shared (sm_80 and later).
#pragma once

#include <cstdint>

#include "tilewire/tile/impl/gpu/ptx/mbarrier.h"
#include "tilewire/tile/impl/gpu/ptx/memory.h"

namespace TW_NS::ptx {

/// The first `bytes` (0 to 16) come from memory, the others are zero.
TW_FN void copy_async(void* to, const void* from, uint32_t bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(in_shared(to)),
               "l"(global(from)), "r"(bytes)
               : "memory");
}

/// Closes this thread's group.
TW_FN void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Until at most `pending` groups of this thread have not come.
template <int pending>
TW_FN void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

}  // namespace TW_NS::ptx
