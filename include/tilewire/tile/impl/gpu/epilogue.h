// From sums in registers to finished rows: the epilogue, by whole rows through shared memory, so
// that global memory is read and written by rows. A warp works on its own 16 rows in its own region
// and waits for nobody else.
//
// Region: 16 rows of 512 bytes. Raw fp32 sums lie in 16-byte chunks, chunk q of row r at
// q ^ turn(r), which keeps both the writes of a fragment and the reads of a row free of conflicts.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/gpu/fragment.h"
#include "tilewire/tile/matrix.h"

namespace TW_NS {

inline constexpr int kRegionRow = 512;
inline constexpr int kRegionBytes = kWarpRows * kRegionRow;
inline constexpr int kStagingBytes = kTileWarps * kRegionBytes;

template <Fragment f>
TW_FN int turn(int row) {
  return f == Fragment::kMatrix ? (row % 4 * 2 + row / 4 % 2) ^ row / 8 * 4 : row / 8 * 4;
}
template <Fragment f>
TW_FN float4& chunk_at(char* region, int row, int q) {
  return *reinterpret_cast<float4*>(region + row * kRegionRow + (q ^ turn<f>(row)) * 16);
}

// Addresses of a fragment's sums, by hand in few registers: of the bits of a chunk's place, those
// that depend on the lane are apart from those that are constants of the unrolled loops.

TW_FN void stage_sums(char* region, const TileSums<Fragment::kMatrix>& sum) {
  const int l = ptx::unknown(lane());  // addresses are made here, not kept from tile to tile
  const int row = l / 4, pair = l % 4, turned = turn<Fragment::kMatrix>(row);
  char* const base = region + row * kRegionRow + (pair / 2 ^ turned % 2) * 16 + pair % 2 * 8;
#pragma unroll
  for (int j = 0; j < 16; ++j)
#pragma unroll
    for (int half = 0; half < 2; ++half) {  // rows 8 below
      const int chunks = j % 4 ^ 2 * half ^ turned / 2;
      char* const to = base + chunks * 32 + j / 4 * 128 + half * 8 * kRegionRow;
      *reinterpret_cast<float2*>(to) =
          make_float2(sum.d[4 * j + 2 * half], sum.d[4 * j + 2 * half + 1]);
    }
}

TW_FN void stage_sums(char* region, const TileSums<Fragment::kFma>& sum) {
  const int half = lane() / 16;
  char* const base = region + half * 8 * kRegionRow + lane() % 16 * 4;
#pragma unroll
  for (int h = 0; h < 8; ++h)
#pragma unroll
    for (int j = 0; j < 8; ++j)
      *reinterpret_cast<float*>(base + h * kRegionRow + (j ^ half) * 64) = sum.d[8 * h + j];
}

TW_FN float activated(float x, Activation activation) {
  switch (activation) {
    case Activation::kGelu:
      return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    case Activation::kGeluTanh:
      return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    case Activation::kSilu:
    case Activation::kSwiGlu:
      return __fdividef(x, 1.0f + expf(-x));
    default:
      return x;
  }
}

TW_FN float4 plus(float4 a, float4 b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

/// A lane's place in the rows of a warp: four columns, of one row at a time, or of two when the
/// tile is paired and rows are half as long.
struct RowLane {
  int q;      // chunk: columns 4 q .. 4 q + 3 of the tile
  int count;  // of them exist
  int first, step;
  TW_FN explicit RowLane(const Tile& tile) {
    const int lanes = tile.pair == 0 ? 32 : 16;
    q = lane() % lanes;
    const int left = static_cast<int>(tile.cols) - 4 * q;
    count = left < 0 ? 0 : left > 4 ? 4 : left;
    first = lane() / lanes;
    step = 32 / lanes;
  }
};

/// Rows of the tile that are this warp's.
TW_FN int warp_rows(const Tile& tile) {
  const int left = static_cast<int>(tile.rows) - tile_warp() * kWarpRows;
  return left < 0 ? 0 : left > kWarpRows ? kWarpRows : left;
}

/// Those of them that are in `part`.
TW_FN RowPart warp_part(const Tile& tile, const RowPart& part) {
  const int from = static_cast<int>(part.first) - tile_warp() * kWarpRows;
  const int to = from + static_cast<int>(part.rows), rows = warp_rows(tile);
  const int begin = from < 0 ? 0 : from, end = to < rows ? to : rows;
  return {static_cast<uint32_t>(begin), static_cast<uint32_t>(begin < end ? end - begin : 0)};
}

/// Bias and activation, in place.
template <Fragment f>
TW_FN void activate_rows(char* region, const Tile& tile, const RowLane& at, const Epilogue& e) {
  const char* const bias = static_cast<const char*>(e.bias);
  const bool gated = e.activation == Activation::kSwiGlu;
  float4 add = make_float4(0, 0, 0, 0), add_up = add;
  if (bias != nullptr) add = load_four(bias, tile.col + 4 * at.q, at.count, false, e.type);
  if (bias != nullptr && gated)
    add_up = load_four(bias, tile.pair + tile.col + 4 * at.q, at.count, false, e.type);
#pragma unroll 1
  for (int row = at.first; row < kWarpRows; row += at.step) {
    float4& place = chunk_at<f>(region, row, at.q);
    float4 x = plus(place, add);
    float4 up = make_float4(1, 1, 1, 1);
    if (gated) up = plus(chunk_at<f>(region, row, at.q + kPairCols / 4), add_up);
#pragma unroll 1
    for (int c = 0; c < 4; ++c) {  // one copy of long functions: the components pass by it
      x = make_float4(x.y, x.z, x.w, activated(x.x, e.activation) * up.x);
      up = make_float4(up.y, up.z, up.w, up.x);
    }
    place = x;
  }
}

/// Calls emit(row of the tile, first column, count, values) for each lane's part of each row of
/// this warp that is stored, rows in turn. All lanes take part in every call; count is 0 where
/// there is nothing.
template <Fragment f, class Emit>
TW_FN void finish_rows(char* region, const TileSums<f>& sum, const Epilogue& e, Emit emit) {
  const Tile& tile = sum.tile;
  __syncwarp();  // the region's last readers
  stage_sums(region, sum);
  __syncwarp();
  const RowLane at(tile);
  if (e.bias != nullptr || e.activation != Activation::kNone) activate_rows<f>(region, tile, at, e);
  const RowPart part = warp_part(tile, sum.only);
  const int first = tile_warp() * kWarpRows, rows = static_cast<int>(part.first + part.rows);
  const Matrix& residual = e.residual;
  const size_t col = tile.col + 4 * at.q;
  const bool whole =
      at.count == 4 && fours_aligned(residual.at(0, col).data, e.type) && residual.stride % 4 == 0;
  constexpr int kAtOnce = 4;  // residuals on their way
#pragma unroll 1
  for (int begin = static_cast<int>(part.first); begin < rows; begin += kAtOnce * at.step) {
    float4 add[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int row = begin + i * at.step + at.first;
      add[i] = make_float4(0, 0, 0, 0);
      if (residual.data != nullptr && row < rows)
        add[i] = load_four(residual.at(tile.row + first + row - e.first_row, col).data, 0, at.count,
                           whole, e.type);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int row = begin + i * at.step + at.first;
      const bool exists = row < rows;
      float4 x = add[i];
      if (exists) x = plus(chunk_at<f>(region, row, at.q), x);
      emit(first + row, 4 * at.q, exists ? at.count : 0, x);
    }
  }
}

/// Four results to shared memory.
TW_FN void stage_four(char* to, float4 x, tw_type_t type) {
  if (type == TW_FP32)
    *reinterpret_cast<float4*>(to) = x;
  else
    *reinterpret_cast<uint2*>(to) = make_uint2(pack16(type, x.x, x.y), pack16(type, x.z, x.w));
}

/// Finished rows of this warp in its region, each from the start of its 512 bytes.
template <Fragment f>
TW_FN void stage_rows(char* region, const TileSums<f>& sum, const Epilogue& e, tw_type_t type) {
  finish_rows(region, sum, e, [&](int row, int col, int count, float4 x) {
    __syncwarp();  // all have read the row's sums
    if (count != 0)
      stage_four(region + row % kWarpRows * kRegionRow + col * element_bytes(type), x, type);
  });
}

/// The tile to memory that a thread of this block may store to.
template <Fragment f>
TW_FN void store_rows(const TilePlace& to, char* region, const TileSums<f>& sum,
                      const Epilogue& e) {
  const bool aligned = fours_aligned(to.data, to.type) && to.stride % 4 == 0;
  finish_rows(region, sum, e, [&](int row, int col, int count, float4 x) {
    store_four(to.data, (row - sum.only.first) * to.stride + col, x, count, aligned && count == 4,
               to.type);
  });
}

}  // namespace TW_NS
