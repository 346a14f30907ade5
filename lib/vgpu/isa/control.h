// The end of a function, which falls off its last statement.
#pragma once

#include "lib/vgpu/isa/symbols.h"

namespace tw::vgpu {

/// Appends the op that stands behind a function's last statement: exit in an entry, else ret.
void append_return(Symbols& symbols);

}  // namespace tw::vgpu
