// Libraries that are not linked but opened when they are there.
#pragma once

#include <string>

namespace tw {

/// CUDA driver, NCCL and UCX: version and devices, or why they cannot be used; a line each, for
/// people. Opens them; they stay open. Restores the signal handlers that opening them replaced.
std::string describe_libraries();

}  // namespace tw
