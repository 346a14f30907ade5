// add, sub, mul and their like exist for integers and for floats: one row each, two files.
#pragma once

#include "lib/vgpu/isa/form.h"

namespace tw::vgpu {

void integer_arithmetic(Form& form, Type type);
void float_arithmetic(Form& form, Type type);

}  // namespace tw::vgpu
