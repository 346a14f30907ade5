// Single elements of bf16, fp16 and fp32 memory as fp32, and activations: the reference by which
// the vector loops are written.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "tilewire/tile/matrix.h"
#include "tilewire/tile/packed.h"
#include "tilewire/tile/types.h"

namespace TW_NS {

TW_FN float load_element(const void* from, size_t i, tw_type_t type) {
  if (type == TW_FP32) {
    float value;
    __builtin_memcpy(&value, static_cast<const char*>(from) + 4 * i, sizeof value);
    return value;
  }
  uint16_t code;
  __builtin_memcpy(&code, static_cast<const char*>(from) + 2 * i, sizeof code);
  const uint32_t bits = code;
  return type == TW_BF16 ? Bf16::widen<float>(bits) : Fp16::widen<float>(bits);
}

TW_FN void store_element(void* to, size_t i, float value, tw_type_t type) {
  if (type == TW_FP32) {
    __builtin_memcpy(static_cast<char*>(to) + 4 * i, &value, sizeof value);
    return;
  }
  const uint32_t bits =
      type == TW_BF16 ? Bf16::narrow<float, uint32_t>(value) : Fp16::narrow<float, uint32_t>(value);
  const uint16_t code = static_cast<uint16_t>(bits);
  __builtin_memcpy(static_cast<char*>(to) + 2 * i, &code, sizeof code);
}

/// The nearest number of the type.
TW_FN float rounded(float value, tw_type_t type) {
  if (type == TW_FP32) return value;
  uint16_t code;
  store_element(&code, 0, value, type);
  return load_element(&code, 0, type);
}

TW_FN float element_of(const Operand& m, size_t row, size_t col) {
  switch (m.layout) {
    case MatrixLayout::kRows:
      return load_element(m.data, row * m.stride + col, m.type);
    case MatrixLayout::kCols:
      return load_element(m.data, col * m.stride + row, m.type);
    default: {
      const char* panel = static_cast<const char*>(m.data) + kPackedHeader +
                          col / kPanelCols * panel_bytes(m.rows, m.type);
      const size_t j = col % kPanelCols;
      const size_t at =
          m.type == TW_BF16 ? (row / 2 * kPanelCols + j) * 2 + row % 2 : row * kPanelCols + j;
      return load_element(panel, at, m.type);
    }
  }
}

TW_FN float activated(float x, Activation activation) {
  switch (activation) {
    case Activation::kGelu:
      return 0.5f * x * (1.0f + std::erf(x * 0.70710678f));
    case Activation::kGeluTanh:
      return 0.5f * x * (1.0f + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
    case Activation::kSilu:
      return x / (1.0f + std::exp(-x));
    default:
      return x;
  }
}

}  // namespace TW_NS
