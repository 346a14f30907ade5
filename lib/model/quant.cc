// Built with -ffp-contract=off (lib.mk): a fused multiply-add would give other bits.
#include "lib/model/quant.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "lib/base/error.h"

namespace tw {
namespace {

struct Row {
  uint32_t number;
  QuantFormat format;
};
#define TW_QUANT_ROW(name, number, elements, bytes) Row{number, {#name, elements, bytes}},
constexpr Row kRows[] = {TW_QUANT_MAP(TW_QUANT_ROW)};
#undef TW_QUANT_ROW

template <class T>
T load(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// Without fp32 subnormals, which a caller's float mode may take for zero.
float from_half(uint16_t half) {
  const uint32_t exponent = half >> 10 & 0x1f;
  const uint32_t mantissa = half & 0x3ff;
  const uint32_t normal = (exponent == 0x1f ? 0xff : exponent + 112) << 23 | mantissa << 13;
  const auto small = std::bit_cast<uint32_t>(static_cast<float>(mantissa) * 0x1p-24f);
  return std::bit_cast<float>((exponent == 0 ? small : normal) | (half & 0x8000u) << 16);
}

float half_at(const uint8_t* from) { return from_half(load<uint16_t>(from)); }

uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? bits >> 16 | 0x40 : rounded);
}

// ---- One block of each format. `y` never overlaps it. -------------------------------------------

void expand_q4_0(const uint8_t* __restrict x, float* __restrict y) {
  const float scale = half_at(x);
  const uint8_t* const q = x + 2;
  for (int i = 0; i < 16; ++i) y[i] = static_cast<float>((q[i] & 15) - 8) * scale;
  for (int i = 0; i < 16; ++i) y[i + 16] = static_cast<float>((q[i] >> 4) - 8) * scale;
}

void expand_q4_1(const uint8_t* __restrict x, float* __restrict y) {
  const float scale = half_at(x);
  const float least = half_at(x + 2);
  const uint8_t* const q = x + 4;
  for (int i = 0; i < 16; ++i) y[i] = static_cast<float>(q[i] & 15) * scale + least;
  for (int i = 0; i < 16; ++i) y[i + 16] = static_cast<float>(q[i] >> 4) * scale + least;
}

// Bit i of `high` is the fifth bit of element i.
void fifth_bits(uint32_t high, uint8_t* __restrict bits) {
  for (uint32_t i = 0; i < 32; ++i) bits[i] = static_cast<uint8_t>((high >> i & 1) << 4);
}

void expand_q5_0(const uint8_t* __restrict x, float* __restrict y) {
  const float scale = half_at(x);
  uint8_t high[32];
  fifth_bits(load<uint32_t>(x + 2), high);
  const uint8_t* const q = x + 6;
  for (int i = 0; i < 16; ++i) y[i] = static_cast<float>(((q[i] & 15) | high[i]) - 16) * scale;
  for (int i = 0; i < 16; ++i)
    y[i + 16] = static_cast<float>((q[i] >> 4 | high[i + 16]) - 16) * scale;
}

void expand_q5_1(const uint8_t* __restrict x, float* __restrict y) {
  const float scale = half_at(x);
  const float least = half_at(x + 2);
  uint8_t high[32];
  fifth_bits(load<uint32_t>(x + 4), high);
  const uint8_t* const q = x + 8;
  for (int i = 0; i < 16; ++i) y[i] = static_cast<float>((q[i] & 15) | high[i]) * scale + least;
  for (int i = 0; i < 16; ++i)
    y[i + 16] = static_cast<float>(q[i] >> 4 | high[i + 16]) * scale + least;
}

void expand_q8_0(const uint8_t* __restrict x, float* __restrict y) {
  const float scale = half_at(x);
  for (int i = 0; i < 32; ++i) y[i] = static_cast<float>(static_cast<int8_t>(x[2 + i])) * scale;
}

// The eight 6-bit scales and minima of a Q4_K or Q5_K block, in 12 bytes.
struct KScales {
  float scale[8];
  float least[8];

  explicit KScales(const uint8_t* x) {
    const float d = half_at(x);
    const float least_d = half_at(x + 2);
    const uint8_t* const s = x + 4;
    for (int i = 0; i < 4; ++i) {
      scale[i] = d * static_cast<float>(s[i] & 63);
      least[i] = least_d * static_cast<float>(s[i + 4] & 63);
      scale[i + 4] = d * static_cast<float>((s[i + 8] & 15) | (s[i] >> 6) << 4);
      least[i + 4] = least_d * static_cast<float>((s[i + 8] >> 4) | (s[i + 4] >> 6) << 4);
    }
  }
};

void expand_q4_k(const uint8_t* __restrict x, float* __restrict y) {
  const KScales k(x);
  const uint8_t* q = x + 16;
  for (int part = 0; part < 8; part += 2, q += 32, y += 64) {
    for (int i = 0; i < 32; ++i)
      y[i] = k.scale[part] * static_cast<float>(q[i] & 15) - k.least[part];
    for (int i = 0; i < 32; ++i)
      y[i + 32] = k.scale[part + 1] * static_cast<float>(q[i] >> 4) - k.least[part + 1];
  }
}

void expand_q5_k(const uint8_t* __restrict x, float* __restrict y) {
  const KScales k(x);
  const uint8_t* const high = x + 16;
  const uint8_t* q = x + 48;
  for (int part = 0; part < 8; part += 2, q += 32, y += 64) {
    for (int i = 0; i < 32; ++i)
      y[i] = k.scale[part] * static_cast<float>((q[i] & 15) | (high[i] >> part & 1) << 4) -
             k.least[part];
    for (int i = 0; i < 32; ++i)
      y[i + 32] =
          k.scale[part + 1] * static_cast<float>((q[i] >> 4) | (high[i] >> (part + 1) & 1) << 4) -
          k.least[part + 1];
  }
}

void expand_q6_k(const uint8_t* __restrict x, float* __restrict y) {
  const float d = half_at(x + 208);
  for (int half = 0; half < 2; ++half) {
    const uint8_t* const low = x + 64 * half;
    const uint8_t* const high = x + 128 + 32 * half;
    const uint8_t* const scales = x + 192 + 8 * half;
    for (int part = 0; part < 4; ++part)
      for (int side = 0; side < 2; ++side, y += 16) {
        const uint8_t* const l = low + 32 * (part & 1) + 16 * side;
        const uint8_t* const h = high + 16 * side;
        const int shift = part < 2 ? 0 : 4;
        const float scale = d * static_cast<float>(static_cast<int8_t>(scales[2 * part + side]));
        for (int i = 0; i < 16; ++i)
          y[i] = scale *
                 static_cast<float>(((l[i] >> shift & 15) | (h[i] >> (2 * part) & 3) << 4) - 32);
      }
  }
}

// ---- Many blocks --------------------------------------------------------------------------------

void store(const float* __restrict from, size_t count, uint16_t* __restrict to) {
  for (size_t i = 0; i < count; ++i) to[i] = to_bf16(from[i]);
}

using ExpandBlock = void (*)(const uint8_t* __restrict, float* __restrict);

template <ExpandBlock expand_block, size_t elements, size_t bytes>
void expand_all(const uint8_t* from, size_t blocks, float* to) {
  for (size_t b = 0; b < blocks; ++b) expand_block(from + b * bytes, to + b * elements);
}

template <ExpandBlock expand_block, size_t elements, size_t bytes>
void expand_all(const uint8_t* from, size_t blocks, uint16_t* to) {
  for (size_t b = 0; b < blocks; ++b) {
    float values[elements];
    expand_block(from + b * bytes, values);
    store(values, elements, to + b * elements);
  }
}

void expand_f32(const uint8_t* from, size_t count, float* to) {
  std::memcpy(to, from, count * sizeof(float));
}

void expand_f32(const uint8_t* from, size_t count, uint16_t* to) {
  for (size_t i = 0; i < count; ++i) to[i] = to_bf16(load<float>(from + 4 * i));
}

void expand_f16(const uint8_t* __restrict from, size_t count, float* __restrict to) {
  for (size_t i = 0; i < count; ++i) to[i] = half_at(from + 2 * i);
}

void expand_f16(const uint8_t* __restrict from, size_t count, uint16_t* __restrict to) {
  for (size_t i = 0; i < count; ++i) to[i] = to_bf16(half_at(from + 2 * i));
}

void expand_bf16(const uint8_t* __restrict from, size_t count, float* __restrict to) {
  for (size_t i = 0; i < count; ++i)
    to[i] = std::bit_cast<float>(static_cast<uint32_t>(load<uint16_t>(from + 2 * i)) << 16);
}

void expand_bf16(const uint8_t* from, size_t count, uint16_t* to) {
  std::memcpy(to, from, count * sizeof(uint16_t));
}

template <class T>
void expand_to(QuantType type, const uint8_t* from, size_t blocks, T* to) {
  switch (type) {
    case QuantType::kF32:
      return expand_f32(from, blocks, to);
    case QuantType::kF16:
      return expand_f16(from, blocks, to);
    case QuantType::kBF16:
      return expand_bf16(from, blocks, to);
    case QuantType::kQ4_0:
      return expand_all<expand_q4_0, 32, 18>(from, blocks, to);
    case QuantType::kQ4_1:
      return expand_all<expand_q4_1, 32, 20>(from, blocks, to);
    case QuantType::kQ5_0:
      return expand_all<expand_q5_0, 32, 22>(from, blocks, to);
    case QuantType::kQ5_1:
      return expand_all<expand_q5_1, 32, 24>(from, blocks, to);
    case QuantType::kQ8_0:
      return expand_all<expand_q8_0, 32, 34>(from, blocks, to);
    case QuantType::kQ4_K:
      return expand_all<expand_q4_k, 256, 144>(from, blocks, to);
    case QuantType::kQ5_K:
      return expand_all<expand_q5_k, 256, 176>(from, blocks, to);
    case QuantType::kQ6_K:
      return expand_all<expand_q6_k, 256, 210>(from, blocks, to);
  }
}

}  // namespace

const QuantFormat* find_quant_format(uint32_t number) {
  for (const Row& row : kRows)
    if (row.number == number) return &row.format;
  return nullptr;
}

const QuantFormat& quant_format(QuantType type) {
  const QuantFormat* const format = find_quant_format(static_cast<uint32_t>(type));
  if (format == nullptr) fail(TW_ERROR_INTERNAL, "no such type: %u", static_cast<unsigned>(type));
  return *format;
}

std::string supported_quant_types() {
  std::string names;
  for (const Row& row : kRows) names += std::string(names.empty() ? "" : " ") + row.format.name;
  return names;
}

void expand(QuantType type, const void* from, size_t blocks, float* to) {
  expand_to(type, static_cast<const uint8_t*>(from), blocks, to);
}

void expand(QuantType type, const void* from, size_t blocks, uint16_t* to) {
  expand_to(type, static_cast<const uint8_t*>(from), blocks, to);
}

}  // namespace tw
