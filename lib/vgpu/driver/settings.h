// What the environment says about the virtual GPUs.
#pragma once

#include <string>

namespace tw::vgpu {

struct Settings {
  using text = std::string;
#define TW_VGPU_SETTING(variable, member, type, otherwise, help) type member = otherwise;
#include "lib/vgpu/driver/settings.def"
#undef TW_VGPU_SETTING
};

/// Reads the variables. Throws std::invalid_argument that names the variable, its value and what is
/// valid.
Settings read_settings();

/// Exit status of a program that a report ended.
inline constexpr int kReportStatus = 86;

}  // namespace tw::vgpu
