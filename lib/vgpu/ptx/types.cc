#include "lib/vgpu/ptx/types.h"

#include <cstddef>

namespace tw::vgpu::ptx {
namespace {

struct Row {
  std::string_view name;
  int bytes;
  Kind kind;
};

constexpr Row kRows[] = {
#define TW_VGPU_TYPE(name, spelling, bytes, kind) {spelling, bytes, Kind::kind},
    TW_VGPU_TYPES(TW_VGPU_TYPE)
#undef TW_VGPU_TYPE
};

}  // namespace

Type type_named(std::string_view word) {
  if (word.empty()) return Type::kNone;
  for (size_t i = 1; i < std::size(kRows); ++i)
    if (kRows[i].name == word) return static_cast<Type>(i);
  return Type::kNone;
}

int bytes_of(Type type) { return kRows[static_cast<size_t>(type)].bytes; }
Kind kind_of(Type type) { return kRows[static_cast<size_t>(type)].kind; }
const char* name_of(Type type) { return kRows[static_cast<size_t>(type)].name.data(); }

}  // namespace tw::vgpu::ptx
