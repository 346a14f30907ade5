// The executable reference of packing for GPUs: element by element.
#pragma once

#include <cstring>

#include "tilewire/tile/packed.h"

namespace TW_NS {

template <class Block>
TW_FN void pack_header(Block& /*block*/, char* header, const Operand& b) {
  const PackedHeader begin{
      kPackedMagic, kPackedVersion, PackedFor::kGpu, static_cast<uint32_t>(b.type), 0,
      b.rows,       b.cols};
  std::memset(header, 0, kPackedHeader);
  std::memcpy(header, &begin, sizeof begin);
}

template <class Block>
TW_FN void pack_tile(Block& /*block*/, char* tile, const Operand& b, size_t col, size_t k) {
  const size_t element = packed_element(b.type), in_k = gpu_packed_k(b.type);
  std::memset(tile, 0, kGpuPackedTile);
  for (size_t r = 0; r < kGpuTile.cols && col + r < b.cols; ++r)
    for (size_t i = 0; i < in_k && k + i < b.rows; ++i) {
      const size_t at = b.layout == MatrixLayout::kRows ? (k + i) * b.stride + col + r
                                                        : (col + r) * b.stride + k + i;
      const size_t byte = i * element, q = byte / 16;
      std::memcpy(tile + r * 128 + (q ^ r % 8) * 16 + byte % 16,
                  static_cast<const char*>(b.data) + at * element, element);
    }
}

}  // namespace TW_NS
