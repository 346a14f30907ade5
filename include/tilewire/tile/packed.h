// What tw_pack_weights writes: a header, then the elements of B (k x n) in the order in which the
// device's multiply step reads them. Host and kernels take sizes and places from here.
//
// CPUs (all targets): panels of 32 columns, one after the other; in a panel, all of K; both padded
// with zeros to 32. A panel is a sequence of tiles of 32 k x 16 columns, the left one first:
//   bf16         [k / 32][2][16 pairs of k][16 columns][2]   1 KiB a tile: a tile register's worth
//   fp16, fp32   [k / 32][2][32 k][16 columns]
// GPUs: tiles of 128 columns x 64 elements of K (fp32: 32), 16 KiB each, tile (c, s) at c * steps +
// s: the image of a stage in shared memory, 128 bytes of K a column, columns one after the other,
// 16-byte chunk q of column r at q ^ (r % 8) (the 128-byte swizzle); padded with zeros.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire.h"
#include "tilewire/tile/grid.h"
#include "tilewire/tile/matrix.h"

namespace tw {

enum class PackedFor : uint32_t { kCpu = 1, kGpu = 2 };

inline constexpr uint64_t kPackedMagic = 0x3157'4b43'4150'5754;  // "TWPACKW1"

/// The first bytes of packed weights; the elements follow at kPackedHeader.
struct PackedHeader {
  uint64_t magic;
  uint32_t version;
  PackedFor device;
  uint32_t type;  // tw_type_t
  uint32_t reserved;
  uint64_t k, n;
};
inline constexpr uint32_t kPackedVersion = 1;
inline constexpr size_t kPackedHeader = 128;
static_assert(sizeof(PackedHeader) <= kPackedHeader);

inline constexpr size_t kPanelCols = 32;
inline constexpr size_t kPanelTileCols = 16;
inline constexpr size_t kPackedK = 32;

constexpr size_t packed_element(tw_type_t type) { return type == TW_FP32 ? 4 : 2; }
constexpr size_t padded_k(size_t k) { return divide_up(k, kPackedK) * kPackedK; }
/// CPUs: bytes from one panel to the next.
constexpr size_t panel_bytes(size_t k, tw_type_t type) {
  return padded_k(k) * kPanelCols * packed_element(type);
}

/// CPUs: where element (k, j) of a panel lies, in elements from the panel's start.
[[gnu::always_inline]] constexpr size_t panel_place(size_t k, size_t j, tw_type_t type) {
  const size_t tile = k / kPackedK * (kPanelCols / kPanelTileCols) + j / kPanelTileCols;
  const size_t in_k = k % kPackedK, in_j = j % kPanelTileCols;
  const size_t at = type == TW_BF16 ? (in_k / 2 * kPanelTileCols + in_j) * 2 + in_k % 2
                                    : in_k * kPanelTileCols + in_j;
  return tile * kPackedK * kPanelTileCols + at;
}

/// A piece of packed weights.
struct PackedPart {
  const char* data;
  size_t bytes;
};
/// CPUs: the panels that have columns col .. col + cols - 1 of a packed operand.
constexpr PackedPart packed_columns(const Operand& b, size_t col, size_t cols) {
  const size_t bytes = panel_bytes(b.rows, b.type);
  const size_t first = col / kPanelCols, end = divide_up(col + cols, kPanelCols);
  return {static_cast<const char*>(b.data) + kPackedHeader + first * bytes, (end - first) * bytes};
}

inline constexpr size_t kGpuPackedTile = 16 << 10;
/// GPUs: elements of K in 128 bytes.
constexpr size_t gpu_packed_k(tw_type_t type) { return 128 / packed_element(type); }

/// Bytes of packed weights, header included.
constexpr size_t packed_bytes(PackedFor device, size_t k, size_t n, tw_type_t type) {
  if (device == PackedFor::kCpu)
    return kPackedHeader + divide_up(n, kPanelCols) * panel_bytes(k, type);
  return kPackedHeader +
         divide_up(n, kGpuTile.cols) * divide_up(k, gpu_packed_k(type)) * kGpuPackedTile;
}

}  // namespace tw
