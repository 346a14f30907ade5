#include "lib/vgpu/sim/program.h"

namespace tw::vgpu {

std::string Program::where(int pc) const {
  if (pc < 0 || static_cast<size_t>(pc) >= origins.size()) return "the end of " + name;
  const Origin& origin = origins[static_cast<size_t>(pc)];
  std::string result = name + " line " + std::to_string(origin.line);
  const auto file = static_cast<size_t>(origin.place.file);
  if (origin.place.line > 0 && file < module->files.size())
    result +=
        " (" + std::string(module->files[file]) + ":" + std::to_string(origin.place.line) + ")";
  return result + ": " + std::string(origin.text);
}

}  // namespace tw::vgpu
