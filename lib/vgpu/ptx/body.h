// Bodies of functions.
#pragma once

#include "lib/vgpu/ptx/cursor.h"
#include "lib/vgpu/ptx/module.h"

namespace tw::vgpu::ptx {

/// Parses from after the opening brace to the closing one: statements, labels and declarations with
/// their scopes.
void parse_body(Cursor& cursor, Function* function);

}  // namespace tw::vgpu::ptx
