// Read-modify-write of words at system scope. Peers must be linked so that atomics reach them
// (NVLink; not every PCIe link).
#pragma once

#include <cstdint>

#include "tilewire/tile/impl/gpu/ptx/memory.h"

namespace TW_NS::ptx {

/// Returns the value before the addition.
TW_FN uint64_t add_acq_rel_sys(uint64_t* to, uint64_t value) {
  uint64_t before;
  asm volatile("atom.acq_rel.sys.global.add.u64 %0, [%1], %2;"
               : "=l"(before)
               : "l"(global(to)), "l"(value)
               : "memory");
  return before;
}

/// Returns the value before the exchange.
TW_FN uint64_t compare_exchange_acq_rel_sys(uint64_t* to, uint64_t expected, uint64_t value) {
  uint64_t before;
  asm volatile("atom.acq_rel.sys.global.cas.b64 %0, [%1], %2, %3;"
               : "=l"(before)
               : "l"(global(to)), "l"(expected), "l"(value)
               : "memory");
  return before;
}

}  // namespace TW_NS::ptx
