// From what instructions access to what they wait for.
#pragma once

#include "lib/program/program.h"

namespace tw {

/// Gives the instructions of `program` (in order, with their accesses, without waits and raises)
/// the waits that order every two accesses to a part of the same memory of which one writes, within
/// a launch and from one launch to the next, and the counters for them. What other waits imply is
/// not waited for. Instructions of one op that are waited for together share a counter.
void derive_waits(Program* program);

}  // namespace tw
