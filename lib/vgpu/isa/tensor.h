// Tensor copies (cp.async.bulk.tensor).
#pragma once

#include "lib/vgpu/isa/form.h"

namespace tw::vgpu {

/// Decodes what follows "tensor"; `reduces`: of cp.reduce.async.bulk.tensor.
void decode_tensor(Form& form, bool reduces);

}  // namespace tw::vgpu
