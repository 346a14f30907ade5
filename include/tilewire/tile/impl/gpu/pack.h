// Packing by all threads of a block: a packed tile is an image (operand.h) in global memory.
#pragma once

#include "tilewire/tile/impl/gpu/operand.h"

namespace TW_NS {

template <class Block>
TW_FN void pack_header(Block& /*block*/, char* header, const Operand& b) {
  if (this_thread() != 0) return;
#pragma unroll 1
  for (size_t i = 0; i < kPackedHeader; i += 16)
    *reinterpret_cast<uint4*>(header + i) = make_uint4(0, 0, 0, 0);
  *reinterpret_cast<PackedHeader*>(header) = {
      kPackedMagic, kPackedVersion, PackedFor::kGpu, static_cast<uint32_t>(b.type), 0,
      b.rows,       b.cols};
}

template <class Block>
TW_FN void pack_tile(Block& /*block*/, char* tile, const Operand& b, size_t col, size_t k) {
  constexpr int kThreads = Target::kThreads;
  const size_t left = b.cols - col;
  const int count = left < kImageLines ? static_cast<int>(left) : kImageLines;
  const int t = static_cast<int>(this_thread());
  copy_lines<kThreads, false>(in_global(tile), {&b, true, false, col, 0, count, k}, t);
#pragma unroll 1
  for (int i = count * kLineChunks + t; i < kImageLines * kLineChunks; i += kThreads)
    *reinterpret_cast<uint4*>(in_global(tile) + i * 16) = make_uint4(0, 0, 0, 0);
}

}  // namespace TW_NS
