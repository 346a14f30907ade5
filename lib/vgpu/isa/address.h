// Addresses of memory operands: computed for all lanes, checked, and turned into the host's.
#pragma once

#include <cstdint>

#include "lib/vgpu/isa/form.h"
#include "lib/vgpu/sim/machine.h"
#include "lib/vgpu/sim/warp.h"

namespace tw::vgpu {

/// Addresses of the active lanes, of the host; those of other lanes are undefined.
struct Addresses {
  uint64_t lane[kLanes];
};

/// The addresses [slot + immediate] in op.space of accesses of `bytes` bytes, aligned to `align`.
/// Faults for what the GPU may not touch.
void resolve(Warp& warp, const Op& op, Slot slot, uint32_t bytes, uint32_t align, bool writes,
             Addresses* addresses);

/// For cluster addresses (shared::cluster): the block that a shared address belongs to.
Block* block_of_shared(Warp& warp, uint32_t address, uint32_t* offset);

/// Takes the state space of a memory instruction; `otherwise` when none stands there.
Space take_space(Form& form, Space otherwise);

/// Takes .weak .volatile .relaxed .acquire .release .acq_rel .sc and the scope, with what holds
/// when none stands there.
void take_order(Form& form, Order order = Order::kWeak, Scope scope = Scope::kSystem);

}  // namespace tw::vgpu
