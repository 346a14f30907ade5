// Lets instructions that are bound by memory run beside those that are bound by arithmetic.
#pragma once

#include <cstddef>
#include <vector>

#include "lib/program/program.h"

namespace tw {

/// What an op's instructions spend their time on; kArithmetic also where nobody knows.
enum class Bound { kArithmetic, kMemory };

/// Moves each instruction that is bound by memory ahead, to where the global order has done all
/// that it must come after and `distance` instructions more, which a device's blocks may be busy
/// with meanwhile: so the rows that a product has finished are added, normed and sent while its
/// other tiles are computed, not after all of them. Instructions that conflict keep their order.
/// `bounds`: of each op.
void interleave(Program* program, const std::vector<Bound>& bounds, size_t distance);

}  // namespace tw
