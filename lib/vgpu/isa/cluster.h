// barrier.cluster, which shares its mnemonic with the barriers of a block.
#pragma once

#include "lib/vgpu/isa/form.h"

namespace tw::vgpu {

void decode_cluster_barrier(Form& form);

}  // namespace tw::vgpu
