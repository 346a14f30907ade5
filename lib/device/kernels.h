// The kernels built into this library: one image per row of kernels/kernels.def
// kernels/tile_kernels.def and kernels/program_kernels.def.
#pragma once

#include "lib/device/device.h"

namespace tw::kernels {

#define TW_KERNEL_ROW(name, Args) extern const KernelImage name;
#include "kernels/kernels.def"
#include "kernels/program_kernels.def"
#include "kernels/tile_kernels.def"
#undef TW_KERNEL_ROW

}  // namespace tw::kernels
