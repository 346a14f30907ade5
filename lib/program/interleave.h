// Lets instructions that are bound by memory run beside those that are bound by arithmetic.
#pragma once

#include <cstddef>
#include <vector>

#include "lib/program/program.h"

namespace tw {

/// Where an op's instructions stand: where they were added, or ahead of there. Ahead is for what is
/// bound by memory and does not wait long.
enum class Order { kInPlace, kAhead };

/// Moves each instruction of an op that goes ahead to where the global order has done all that it
/// must come after and `distance` instructions more, which a device's blocks may be busy with
/// meanwhile: so the rows that a product has finished are added, normed and sent while its other
/// tiles are computed, not after all of them. Instructions that conflict keep their order.
/// `orders`: of each op.
void interleave(Program* program, const std::vector<Order>& orders, size_t distance);

}  // namespace tw
