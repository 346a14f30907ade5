#include "lib/model/rows.h"

#include <cstring>

#include "tilewire/tile/types.h"

namespace tw {
namespace {

using cpu_portable::Bf16;
using cpu_portable::Fp16;

float load(const char* at, tw_type_t type) {
  if (type == TW_FP32) {
    float value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  uint16_t code;
  std::memcpy(&code, at, sizeof code);
  return type == TW_BF16 ? Bf16::widen<float>(uint32_t{code}) : Fp16::widen<float>(uint32_t{code});
}

void store(char* at, float value, tw_type_t type) {
  if (type == TW_FP32) {
    std::memcpy(at, &value, sizeof value);
    return;
  }
  const auto code = static_cast<uint16_t>(type == TW_BF16 ? Bf16::narrow<float, uint32_t>(value)
                                                          : Fp16::narrow<float, uint32_t>(value));
  std::memcpy(at, &code, sizeof code);
}

}  // namespace

void copy_rows(const Matrix& from, const Matrix& to, size_t rows, size_t cols) {
  if (from.data == nullptr || to.data == nullptr) return;
  for (size_t i = 0; i < rows; ++i) {
    const char* const in = from.at(i, 0).data;
    char* const out = to.at(i, 0).data;
    if (from.type == to.type) {
      std::memcpy(out, in, cols * from.element());
      continue;
    }
    for (size_t j = 0; j < cols; ++j)
      store(out + j * to.element(), load(in + j * from.element(), from.type), to.type);
  }
}

}  // namespace tw
