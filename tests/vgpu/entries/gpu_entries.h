// The library's own GPU kernels as entries that tests call as they call those of CPU targets: the
// images that nvcc made, on virtual GPUs, in the process's ordinary memory.
#pragma once

#include <string>
#include <vector>

#include "lib/device/device.h"

namespace tw::test {

/// Block 0's call runs all of the launch's blocks on the GPU of the rank that the arguments name
/// and waits for them; the other blocks' calls do nothing. Ranks may call at the same time.
struct GpuEntries {
  std::string name;
#define TW_KERNEL_ROW(name, Args) CpuEntry name;
#include "kernels/kernels.def"
#include "kernels/program_kernels.def"
#include "kernels/tile_kernels.def"
#undef TW_KERNEL_ROW
};

/// sm_90a, sm_80; none where nvcc was not there.
const std::vector<GpuEntries>& gpu_entries();

}  // namespace tw::test
