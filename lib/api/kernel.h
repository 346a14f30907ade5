// Kernels of the user's own, as launches and programs take them.
#pragma once

#include <cstddef>

#include "lib/device/device.h"
#include "tilewire.h"

namespace tw::api {

/// Throws INVALID_ARGUMENT unless `kernel` is whole, of this library's layout, and takes an
/// argument struct of `bytes` bytes; `argument` names what these are.
void check_kernel(const tw_kernel_t* kernel, size_t bytes, const char* argument,
                  const char* function);

/// The kernel's entry for the chosen target, or for the next narrower one that was built. Throws
/// UNSUPPORTED.
CpuEntry entry_of(const tw_kernel_t& kernel, CpuTarget target, const char* function);

}  // namespace tw::api
