// Element types of weight files, and their expansion to fp32 and bf16.
//
// Formats and arithmetic are ggml's: the fp32 values are those of its dequantize_row functions,
// byte for byte (products and sums in the same order, none of them contracted).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace tw {

/// X(name, ggml's number, elements a block, bytes a block)
#define TW_QUANT_MAP(X) \
  X(F32, 0, 1, 4)       \
  X(F16, 1, 1, 2)       \
  X(Q4_0, 2, 32, 18)    \
  X(Q4_1, 3, 32, 20)    \
  X(Q5_0, 6, 32, 22)    \
  X(Q5_1, 7, 32, 24)    \
  X(Q8_0, 8, 32, 34)    \
  X(Q4_K, 12, 256, 144) \
  X(Q5_K, 13, 256, 176) \
  X(Q6_K, 14, 256, 210) \
  X(BF16, 30, 1, 2)

#define TW_QUANT_ENUM(name, number, elements, bytes) k##name = (number),
enum class QuantType : uint32_t { TW_QUANT_MAP(TW_QUANT_ENUM) };
#undef TW_QUANT_ENUM

struct QuantFormat {
  const char* name;
  size_t block;  // elements; at most kMaxQuantBlock
  size_t bytes;  // of a block
};

constexpr size_t kMaxQuantBlock = 256;

/// Null when ggml's type `number` is not supported.
const QuantFormat* find_quant_format(uint32_t number);
const QuantFormat& quant_format(QuantType type);

/// "F32 F16 Q4_0 ...": what may be asked for.
std::string supported_quant_types();

/// Expands `blocks` blocks at `from` (any alignment) to blocks * quant_format(type).block elements.
void expand(QuantType type, const void* from, size_t blocks, float* to);

/// The same, each value rounded to bf16 (nearest even; NaN stays NaN).
void expand(QuantType type, const void* from, size_t blocks, uint16_t* to);

}  // namespace tw
