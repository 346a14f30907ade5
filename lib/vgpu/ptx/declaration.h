// Declarations: variables, parameters, registers.
#pragma once

#include <vector>

#include "lib/vgpu/ptx/cursor.h"
#include "lib/vgpu/ptx/module.h"

namespace tw::vgpu::ptx {

/// The state space that ".shared" and the like name; false when `word` names none.
bool space_named(std::string_view word, Space* space);

/// Parses one declaration from its state space on, names and initial values included, up to what
/// follows (';', ',' or ')'). `.reg .b32 a, b<5>` gives several variables. `commas`: whether a
/// comma goes on with the same declaration (not so in parameter lists).
std::vector<Variable> parse_declaration(Cursor& cursor, bool commas);

/// Parses "( .param ..., ... )"; nothing when no '(' stands there.
std::vector<Variable> parse_parameters(Cursor& cursor);

}  // namespace tw::vgpu::ptx
