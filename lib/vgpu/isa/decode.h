// From a parsed module to code that warps execute.
#pragma once

#include <memory>
#include <string_view>

#include "lib/vgpu/isa/form.h"
#include "lib/vgpu/ptx/module.h"
#include "lib/vgpu/sim/program.h"

namespace tw::vgpu {

/// Decodes the entry `name` and the functions that it calls. Throws ptx::Error, with line and text,
/// for every form that is not supported.
std::unique_ptr<Program> decode(const std::shared_ptr<const ptx::Module>& module,
                                std::string_view name);

/// A mnemonic and what decodes its forms.
struct Row {
  std::string_view mnemonic;
  void (*decode)(Form&);
};

/// The rows of a family; a table ends with an empty row.
#define TW_VGPU_FAMILY(name) extern const Row name[];
#include "lib/vgpu/isa/families.def"
#undef TW_VGPU_FAMILY

}  // namespace tw::vgpu
