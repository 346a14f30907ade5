// A decoded instruction: the function that executes it for a warp's lanes, and its operands.
#pragma once

#include <cstdint>

#include "lib/vgpu/ptx/module.h"

namespace tw::vgpu {

using ptx::Space;

struct Warp;
struct Op;

/// How a warp goes on after an op.
enum class Step : uint8_t {
  kNext,     // with the next op
  kJump,     // at the pc that the op has set
  kYield,    // with the next op, after other warps and lane groups had a chance
  kRetry,    // with the same op, later
  kPark,     // with another lane group: the op needs lanes that are elsewhere
  kBlocked,  // when somebody makes the warp ready; the pc is already the next op's
  kLeft,     // with another lane group: the lanes that were active have exited
};

using Run = Step (*)(Warp&, const Op&);

/// Where 32 lanes of an operand lie: a byte offset into the warp's registers or, with bit 0 set,
/// into the kernel's constants.
using Slot = uint32_t;
inline constexpr Slot kNoSlot = ~Slot{0} - 1;

/// A predicate operand: its number times two, plus one when it is negated. Number 0 is always true.
using PredicateRef = uint32_t;
inline constexpr PredicateRef kTrue = 0;

enum class Order : uint8_t {
  kWeak,
  kVolatile,
  kRelaxed,
  kAcquire,
  kRelease,
  kAcquireRelease,
  kSequential
};
enum class Scope : uint8_t { kCta, kCluster, kGpu, kSystem };

struct alignas(64) Op {
  Run run = nullptr;
  uint32_t guard = 0;       // number of the guarding predicate
  uint32_t guard_flip = 0;  // all ones: it is negated
  Slot d = kNoSlot;         // destination: a slot, or a predicate's number
  Slot a = kNoSlot;
  Slot b = kNoSlot;
  Slot c = kNoSlot;
  Slot e = kNoSlot;
  uint32_t list = 0;  // of further operands: where they begin in Program::lists
  int64_t immediate = 0;
  int32_t target = 0;  // of a jump; or whatever number the op needs
  uint8_t count = 0;   // of operands in the list
  uint8_t bytes = 0;   // of an element
  Space space = Space::kGeneric;
  Order order = Order::kWeak;
  Scope scope = Scope::kSystem;
  uint8_t kind = 0;      // the op's own
  uint8_t rounding = 0;  // isa/rounding.h
  bool is_wide = false;  // the address is 64 bits wide
};
static_assert(sizeof(Op) == 64 + 64 || sizeof(Op) == 64);

}  // namespace tw::vgpu
