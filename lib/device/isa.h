// Instruction sets of this CPU, in words. The choice itself: device.h.
#pragma once

#include <string>

namespace tw {

/// What this CPU has, which targets it runs, and which is chosen or why none is.
std::string describe_isa();

}  // namespace tw
