// Choosing from rows of fp32 numbers, by the kTileThreads threads of a tile. Threads have the
// elements that rows.h says; only `keep` moves numbers from one thread's to another's.
//
// Sums are of fp64 numbers: a thread's elements, the lanes of a warp as a tree, then the warps.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/gpu/rows.h"
#include "tilewire/tile/math.h"

namespace TW_NS {

TW_FN float exponential_of(float x) { return exponential<float, uint32_t>(x); }
TW_FN float logarithm_of(float x) { return logarithm(x); }

/// Four elements of a row and what is done to each of them, by number.
struct RowReader {
  const char* data;
  bool whole;
  TW_FN explicit RowReader(const float* row)
      : data(reinterpret_cast<const char*>(row)), whole(fours_aligned(row, TW_FP32)) {}
  TW_FN float4 at(size_t i, int count) const {
    return load_four(data, i, count, whole && count == 4, TW_FP32);
  }
};
TW_FN void store_in_row(float* to, size_t i, float4 x, int count) {
  store_four(reinterpret_cast<char*>(to), i, x, count, fours_aligned(to, TW_FP32) && count == 4,
             TW_FP32);
}

/// TileBlockOps::allow.
TW_FN float allowed(float x, bool is_allowed) {
  constexpr float kMost = 3.40282347e38f;
  if (x != x || !is_allowed) return -INFINITY;
  return x > kMost ? kMost : x;
}
TW_FN void allow_row(const Row& row, const uint32_t* bits, size_t first) {
  const RowReader reader(row.data);
  for_fours(row.n, [&](size_t i, int count) {
    const float4 x = reader.at(i, count);
    const auto bit = [&](int c) {
      if (bits == nullptr || c >= count) return true;
      const size_t at = first + i + c;
      return (in_global(bits)[at / 32] >> at % 32 & 1) != 0;
    };
    store_in_row(row.data, i,
                 make_float4(allowed(x.x, bit(0)), allowed(x.y, bit(1)), allowed(x.z, bit(2)),
                             allowed(x.w, bit(3))),
                 count);
  });
}

TW_FN void exponentials_of_row(float* to, const Row& row, float from, float by) {
  const RowReader reader(row.data);
  for_fours(row.n, [&](size_t i, int count) {
    const float4 x = reader.at(i, count);
    store_in_row(to, i,
                 make_float4(exponential_of((x.x - from) * by), exponential_of((x.y - from) * by),
                             exponential_of((x.z - from) * by), exponential_of((x.w - from) * by)),
                 count);
  });
}

template <class Sync>
TW_FN double sum_of_exponentials_of_row(const Row& row, float from, RowShared& shared, Sync sync) {
  const RowReader reader(row.data);
  double sum = 0;
  for_fours(row.n, [&](size_t i, int count) {
    const float4 x = reader.at(i, count);
    sum += static_cast<double>(exponential_of(x.x - from));
    if (count > 1) sum += static_cast<double>(exponential_of(x.y - from));
    if (count > 2) sum += static_cast<double>(exponential_of(x.z - from));
    if (count > 3) sum += static_cast<double>(exponential_of(x.w - from));
  });
  return over_threads(
      sum, shared.weight, [](double x, double y) { return x + y; }, sync);
}

template <class Sync>
TW_FN RowAbove above_in_row(const Row& row, const float* weights, float limit, RowShared& shared,
                            Sync sync) {
  const RowReader reader(row.data), weight(weights);
  double sum = 0;
  uint32_t above = 0;
  for_fours(row.n, [&](size_t i, int count) {
    const float4 x = reader.at(i, count), w = weight.at(i, count);
    const auto add = [&](float number, float weighs, int c) {
      if (c >= count || !(number > limit)) return;
      ++above;
      sum += static_cast<double>(weighs);
    };
    add(x.x, w.x, 0);
    add(x.y, w.y, 1);
    add(x.z, w.z, 2);
    add(x.w, w.w, 3);
  });
  const double all = over_threads(
      sum, shared.weight, [](double x, double y) { return x + y; }, sync);
  const uint32_t count = over_threads(
      above, shared.count[0], [](uint32_t x, uint32_t y) { return x + y; }, sync);
  return {count, all};
}

// ---- Places: numbers in order, kRowPart at a time ----

inline constexpr size_t kRowPart = 4 * kTileThreads;

/// Of `mine`, numbers that the threads have of a part: how many come before this thread's, and how
/// many all are.
struct Counted {
  uint32_t before, all;
};
/// `counts`: not the one of the call before, whose readers may be late: one barrier is enough.
template <class Sync>
TW_FN Counted count_parts(uint32_t mine, uint32_t (&counts)[kTileWarps], Sync sync) {
  uint32_t upto = mine;
#pragma unroll
  for (int by = 1; by < 32; by *= 2) {
    const uint32_t other = __shfl_up_sync(~0u, upto, by);
    if (lane() >= by) upto += other;
  }
  if (lane() == 31) counts[tile_warp()] = upto;
  sync();
  Counted counted{upto - mine, 0};
#pragma unroll
  for (int w = 0; w < kTileWarps; ++w) {
    if (w < tile_warp()) counted.before += counts[w];
    counted.all += counts[w];
  }
  return counted;
}

/// Above `low` and not above `high`.
struct Between {
  float low, high;
  TW_FN bool has(float x) const { return x > low && x <= high; }
};

/// TileBlockOps::keep. A part is read by all before any of it is written, by the barrier in the
/// middle; and what is written lies at or before it.
template <class Sync>
TW_FN size_t keep_of_row(float* to, float* to_weights, const Row& row, const float* weights,
                         const Between& range, RowShared& shared, Sync sync) {
  const RowReader reader(row.data), weight(weights);
  float* const numbers = in_global(to);
  float* const kept_weights = in_global(to_weights);
  size_t kept = 0;
  uint32_t turn = 0;
  sync();  // the last call's readers of `shared`
#pragma unroll 1
  for (size_t begin = 0; begin < row.n; begin += kRowPart, turn ^= 1) {
    const size_t i = begin + 4 * row_thread();
    const int count = i >= row.n ? 0 : row.n - i < 4 ? static_cast<int>(row.n - i) : 4;
    float4 x = make_float4(0, 0, 0, 0), w = x;
    if (count != 0) {
      x = reader.at(i, count);
      w = weight.at(i, count);
    }
    const bool has[4] = {count > 0 && range.has(x.x), count > 1 && range.has(x.y),
                         count > 2 && range.has(x.z), count > 3 && range.has(x.w)};
    const uint32_t mine = uint32_t{has[0]} + has[1] + has[2] + has[3];
    const Counted counted = count_parts(mine, shared.count[turn], sync);
    size_t at = kept + counted.before;
    const auto put = [&](bool yes, float number, float weighs) {
      if (!yes) return;
      numbers[at] = number;
      kept_weights[at] = weighs;
      ++at;
    };
    put(has[0], x.x, w.x);
    put(has[1], x.y, w.y);
    put(has[2], x.z, w.z);
    put(has[3], x.w, w.w);
    kept += counted.all;
  }
  sync();  // the kept ones are other threads' now
  return kept;
}

template <class Sync>
TW_FN size_t find_in_row(const Row& row, float value, size_t skip, RowShared& shared, Sync sync) {
  const RowReader reader(row.data);
  uint32_t turn = 0;
  sync();  // the last call's readers of `shared`
#pragma unroll 1
  for (size_t begin = 0; begin < row.n; begin += kRowPart, turn ^= 1) {
    const size_t i = begin + 4 * row_thread();
    const int count = i >= row.n ? 0 : row.n - i < 4 ? static_cast<int>(row.n - i) : 4;
    float4 x = make_float4(0, 0, 0, 0);
    if (count != 0) x = reader.at(i, count);
    const bool is[4] = {count > 0 && x.x == value, count > 1 && x.y == value,
                        count > 2 && x.z == value, count > 3 && x.w == value};
    const uint32_t mine = uint32_t{is[0]} + is[1] + is[2] + is[3];
    const Counted counted = count_parts(mine, shared.count[turn], sync);
    if (skip >= counted.all) {
      skip -= counted.all;
      continue;
    }
    size_t left = skip - counted.before;  // a number that no thread but one finds below `mine`
    if (skip >= counted.before && left < mine) {
#pragma unroll
      for (int c = 0; c < 4; ++c)
        if (is[c] && left-- == 0) shared.found = i + c;
    }
    sync();
    return shared.found;
  }
  return row.n;
}

}  // namespace TW_NS
