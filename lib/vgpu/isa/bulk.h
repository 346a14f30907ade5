// What bulk and tensor copies share: their asynchronous engines, and where their ends lie.
#pragma once

#include <memory>
#include <vector>

#include "lib/vgpu/isa/address.h"
#include "lib/vgpu/sim/observer.h"
#include "lib/vgpu/sim/warp.h"

namespace tw::vgpu {

/// The block that owns a resolved shared address, for what must keep it alive.
Block* owner_of(Warp& warp, uint64_t host_address);

/// What an observer, if there is one, makes of the copy that a lane begins.
std::shared_ptr<Ticket> take_ticket(const Warp& warp, int lane);

/// The open group of a lane, for a copy that is about to begin.
std::shared_ptr<BulkGroup> open_group(Warp& warp, int lane);

/// Tells the mbarrier at `word` of `block` that `bytes` have come; faults when there is none.
void signal_bytes(const std::string& place, uint64_t word, uint32_t bytes);

/// An element-wise reduction of `bytes` bytes: to = to op from. op: as in Reduction.
enum class Reduction : uint8_t { kNone, kAdd, kMin, kMax, kAnd, kOr, kXor, kIncrement, kDecrement };
void reduce_bytes(uint8_t* to, const uint8_t* from, uint32_t bytes, Reduction reduction,
                  ptx::Type type);

/// Takes .add .min ... of a bulk reduction.
Reduction take_reduction(Form& form);

}  // namespace tw::vgpu
