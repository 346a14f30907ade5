// Rows of fp32 numbers, by the kTileThreads threads of a tile: thread t has elements 4 (t + 256 j)
// .. + 3, whatever the addresses are, and touches no others: rows need no barrier between ops, and
// sums have one order: a thread's elements, then the lanes of a warp as a tree, then the warps.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/gpu/epilogue.h"
#include "tilewire/tile/impl/gpu/fragment.h"
#include "tilewire/tile/tile_block.h"

namespace TW_NS {

/// 1 / sqrt(x), both rounded.
TW_FN float inverse_sqrt(float x) { return __frcp_rn(__fsqrt_rn(x)); }

/// What warps tell each other in row ops. In shared memory.
struct RowShared {
  float number[kTileWarps];
  double weight[kTileWarps];
  uint32_t count[2][kTileWarps];
  uint64_t found;
};

/// This thread's number, found anew: what is made of it would else be kept in registers for other
/// row ops of a program, through all that comes between.
TW_FN uint32_t row_thread() {
  return static_cast<uint32_t>(ptx::unknown(static_cast<int>(threadIdx.x)));
}

/// Calls each(i, count) for this thread's fours of n elements.
template <class Each>
TW_FN void for_fours(size_t n, Each each) {
#pragma unroll 2
  for (size_t i = 4 * row_thread(); i < n; i += 4 * kTileThreads)
    each(i, n - i < 4 ? static_cast<int>(n - i) : 4);
}

/// row[i] = op(row[i], from[i]); `from` null: op(row[i], 0).
template <class Op>
TW_FN void change_row(const Row& row, const void* from, tw_type_t type, Op op) {
  const char* const other = static_cast<const char*>(from);
  char* const mine = reinterpret_cast<char*>(row.data);
  const bool whole = fours_aligned(mine, TW_FP32), other_whole = fours_aligned(other, type);
  for_fours(row.n, [&](size_t i, int count) {
    float4 x = load_four(mine, i, count, whole && count == 4, TW_FP32);
    float4 y = make_float4(0, 0, 0, 0);
    if (other != nullptr) y = load_four(other, i, count, other_whole && count == 4, type);
    x = make_float4(op(x.x, y.x), op(x.y, y.y), op(x.z, y.z), op(x.w, y.w));
    store_four(mine, i, x, count, whole && count == 4, TW_FP32);
  });
}

TW_FN void load_row(const Row& row, const void* from, tw_type_t type) {
  const char* const other = static_cast<const char*>(from);
  char* const mine = reinterpret_cast<char*>(row.data);
  const bool whole = fours_aligned(mine, TW_FP32), other_whole = fours_aligned(other, type);
  for_fours(row.n, [&](size_t i, int count) {
    const float4 x = load_four(other, i, count, other_whole && count == 4, type);
    store_four(mine, i, x, count, whole && count == 4, TW_FP32);
  });
}

TW_FN float4 load_four_everywhere(const char* from, tw_type_t type) {
  if (type == TW_FP32) return ptx::sum_everywhere_fp32(from);
  const uint2 two =
      type == TW_BF16 ? ptx::sum_everywhere_bf16(from) : ptx::sum_everywhere_fp16(from);
  return make_float4(low16(type, two.x), high16(type, two.x), low16(type, two.y),
                     high16(type, two.y));
}

/// TileBlockOps::load_sum. `everywhere`: null, or an aligned multicast address, which the fabric
/// reads and adds by whole fours.
template <class From>
TW_FN void sum_rows(const Row& row, int n, From from, const void* everywhere, tw_type_t type) {
  if (everywhere == nullptr) {
    load_row(row, from(0), type);
    for (int r = 1; r < n; ++r)
      change_row(row, from(r), type, [](float x, float y) { return x + y; });
    return;
  }
  char* const mine = reinterpret_cast<char*>(row.data);
  const bool whole = fours_aligned(mine, TW_FP32);
  for_fours(row.n, [&](size_t i, int count) {
    float4 x = make_float4(0, 0, 0, 0);
    if (count == 4)
      x = load_four_everywhere(static_cast<const char*>(everywhere) + i * element_bytes(type),
                               type);
    for (int r = 0; r < n && count != 4; ++r)
      x = plus(x, load_four(static_cast<const char*>(from(r)), i, count, false, type));
    store_four(mine, i, x, count, whole && count == 4, TW_FP32);
  });
}

/// To one place; `ends_only`: whole fours are there already.
TW_FN void store_row(char* to, const Row& row, tw_type_t type, bool ends_only) {
  const char* const mine = reinterpret_cast<const char*>(row.data);
  const bool whole = fours_aligned(mine, TW_FP32), to_whole = fours_aligned(to, type);
  for_fours(row.n, [&](size_t i, int count) {
    if (ends_only && count == 4) return;
    const float4 x = load_four(mine, i, count, whole && count == 4, TW_FP32);
    store_four(to, i, x, count, to_whole && count == 4, type);
  });
}

/// Whole fours to an aligned multicast address.
TW_FN void store_row_everywhere(char* to, const Row& row, tw_type_t type) {
  const char* const mine = reinterpret_cast<const char*>(row.data);
  const bool whole = fours_aligned(mine, TW_FP32);
  for_fours(row.n, [&](size_t i, int count) {
    if (count != 4) return;
    const float4 x = load_four(mine, i, count, whole, TW_FP32);
    char* const at = to + i * element_bytes(type);
    if (type == TW_FP32)
      ptx::store_everywhere_weak(at, make_uint4(__float_as_uint(x.x), __float_as_uint(x.y),
                                                __float_as_uint(x.z), __float_as_uint(x.w)));
    else
      ptx::store_everywhere_weak(at, make_uint2(pack16(type, x.x, x.y), pack16(type, x.z, x.w)));
  });
}

/// All threads' `x` combined, in every thread; `sync` is a barrier of the threads, `warps` has room
/// for a number of each warp.
template <class T, class Combine, class Sync>
TW_FN T over_threads(T x, T* warps, Combine combine, Sync sync) {
#pragma unroll
  for (int by = 16; by > 0; by /= 2) x = combine(x, __shfl_xor_sync(~0u, x, by));
  sync();  // the last call's readers
  if (lane() == 0) warps[tile_warp()] = x;
  sync();
  T total = warps[0];
#pragma unroll
  for (int w = 1; w < kTileWarps; ++w) total = combine(total, warps[w]);
  return total;
}

/// The elements of a row combined, from `start`; `map` is done to each first.
template <class Map, class Combine, class Sync>
TW_FN float combine_row(const Row& row, float start, float* warps, Map map, Combine combine,
                        Sync sync) {
  float total = start;
  const char* const mine = reinterpret_cast<const char*>(row.data);
  const bool whole = fours_aligned(mine, TW_FP32);
  for_fours(row.n, [&](size_t i, int count) {
    const float4 x = load_four(mine, i, count, whole && count == 4, TW_FP32);
    total = combine(total, map(x.x));
    if (count > 1) total = combine(total, map(x.y));
    if (count > 2) total = combine(total, map(x.z));
    if (count > 3) total = combine(total, map(x.w));
  });
  return over_threads(total, warps, combine, sync);
}

/// row[i] = value, by the thread that has element i.
TW_FN void set_in_row(const Row& row, size_t i, float value) {
  if (i / 4 % kTileThreads == row_thread()) in_global(row.data)[i] = value;
}

/// TileBlockOps::rotate. Numbers of a pair may be two threads': barriers before and after.
template <class Sync>
TW_FN void rotate_row(const Row& row, const float* cosines, const float* sines, Sync sync) {
  const size_t half = row.n / 2;
  float* const first = in_global(row.data);
  sync();
#pragma unroll 1
  for (size_t i = row_thread(); i < half; i += kTileThreads) {
    const float a = first[i], b = first[i + half];
    const float c = in_global(cosines)[i], s = in_global(sines)[i];
    first[i] = a * c - b * s;
    first[i + half] = b * c + a * s;
  }
  sync();
}

}  // namespace TW_NS
