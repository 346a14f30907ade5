// What was found, for people and for programs.
#pragma once

#include <string>

#include "lib/vgpu/driver/settings.h"
#include "lib/vgpu/sim/fault.h"

namespace tw::vgpu {

/// "illegal_address" and so on: the kind's name in JSON lines.
const char* name_of(FaultKind kind);

/// Writes the report to stderr and to the settings' file, and ends the process if they say so.
void report(const Settings& settings, const std::string& kind, const std::string& text);

}  // namespace tw::vgpu
