// The GPU kernels built into this library: for each row of kernels/*kernels.def and each GPU target
// the cubin and the PTX. The entry of a row is `<name>_entry`.
#pragma once

#include <cstddef>

namespace tw {

/// GPU targets; the entries of a kernel's row.
enum class GpuTarget { kSm90a, kSm80 };
inline constexpr int kGpuTargets = 2;

/// One module. All null and 0 where the target was not built (no nvcc), or the program does not
/// link the images.
struct GpuImage {
  const void* cubin;
  size_t cubin_bytes;
  const char* ptx;  // NUL-terminated text
};

namespace gpu_images {

#define TW_KERNEL_ROW(name, Args) extern const GpuImage name[kGpuTargets];
#include "kernels/kernels.def"
#include "kernels/program_kernels.def"
#include "kernels/tile_kernels.def"
#undef TW_KERNEL_ROW

}  // namespace gpu_images
}  // namespace tw
