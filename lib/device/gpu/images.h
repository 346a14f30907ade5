// Which of the embedded images (lib/device/gpu_images.h) a GPU runs, and loading them.
#pragma once

#include <optional>
#include <string>

#include "lib/device/gpu/driver.h"
#include "lib/device/gpu_images.h"

namespace tw::gpu {

/// The target whose kernels a GPU of this compute capability runs: sm_90a on 9.0 alone, since code
/// for it runs nowhere else; sm_80 on every other from 8.0. None below.
std::optional<GpuTarget> target_of(int major, int minor);
const char* target_name(GpuTarget target);

/// "sm_90a kernels", "sm_80 kernels as PTX", "not supported: ...".
std::string describe_images(int major, int minor);

/// Loads a kernel's module into the current context: the cubin where the GPU takes it, else the
/// PTX. Throws UNSUPPORTED where the library was built without GPU kernels, and with the driver's
/// words where it takes neither.
Module load_image(const Driver& driver, const GpuImage& image, const char* name);

}  // namespace tw::gpu
