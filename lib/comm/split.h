// Comms made of other comms.
#pragma once

#include <memory>

#include "lib/comm/comm.h"

namespace tw {

/// Collective over `parent`: ranks of equal `color` (>= 0) form a comm ordered by (key, rank).
/// Null for color -1. Shares the parent's device.
std::unique_ptr<Comm> split(Comm& parent, int color, int key, const CommOptions& options);

/// Called by the survivors of an ended comm; waits for every rank that is not dead.
/// Throws TIMEOUT naming who did not come, INVALID_STATE when the comm is well.
std::unique_ptr<Comm> shrink(Comm& parent, const CommOptions& options);

}  // namespace tw
