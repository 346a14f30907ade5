// A tensor's description for tensor copies: what a CUtensorMap's 128 bytes hold here.
#pragma once

#include <cstdint>

namespace tw::vgpu {

struct TensorMap {
  static constexpr uint64_t kMark = 0x70616d5475677674;
  uint64_t mark;
  uint64_t address;
  uint64_t strides[4];  // in bytes, of dimensions 1 to 4
  uint32_t extents[5];
  uint32_t element_strides;  // 4 bits each
  uint16_t box[5];
  uint8_t rank;
  uint8_t element_bytes;
  uint8_t element_type;  // CUtensorMapDataType
  uint8_t swizzle;       // log2(bytes / 16): 0 none, 1 32 B, 2 64 B, 3 128 B
  uint8_t interleave;
  uint8_t nan_fill;

  uint32_t element_stride(int dimension) const { return element_strides >> (4 * dimension) & 15; }
  uint32_t box_bytes() const {
    uint32_t bytes = element_bytes;
    for (int i = 0; i < rank; ++i) bytes *= box[i];
    return bytes;
  }
};
static_assert(sizeof(TensorMap) <= 128);

/// Where a byte of a box at shared offset `offset` lies after swizzling: bits 4.. take in bits 7...
inline uint32_t swizzled(uint32_t offset, int swizzle) {
  const uint32_t mask = (uint32_t{1} << swizzle) - 1;
  return offset ^ ((offset >> 7 & mask) << 4);
}

}  // namespace tw::vgpu
