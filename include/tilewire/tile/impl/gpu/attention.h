// Attention by warps: of up to 128 lines a warp has 16, whatever the others do, and multiplies them
// with keys and values that it reads from global memory. Products are mma m16n8k16 on all targets;
// a thread (quad q = lane % 4, row n = lane / 4) has
//   scores   lines n and n + 8; keys 8 j + 2 q and the next one in s[4 j], s[4 j + 1] (line n) and
//            s[4 j + 2], s[4 j + 3] (line n + 8)
//   sums     the same of columns; where the head's elements d stand among them is free, and so is
//            the order in which a score's products are added. Both are chosen such that a thread
//            reads neighbours: of q and K elements 16 s + 4 q .. + 3; of V 16 bytes of a key.
// Weights are scores in the place in which the second product takes them.
//
// A split is gone through in runs of kKeysAtOnce keys from a multiple of that on. A run multiplies
// the sums before by 2^(old - new) of the largest scores; for a line that sees none of its keys
// that is 1. So a line's bits depend on its own keys only. Totals of splits lie in shared memory:
// each thread's own, which no other touches.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "tilewire/kernels/attention.h"
#include "tilewire/tile/impl/gpu/epilogue.h"
#include "tilewire/tile/impl/gpu/fragment.h"
#include "tilewire/tile/impl/gpu/ptx/convert.h"
#include "tilewire/tile/impl/gpu/ptx/mma.h"

namespace TW_NS {

inline constexpr uint32_t kKeysAtOnce = 32;  // a lane finds the place of each
inline constexpr float kLog2E = 1.44269504f;
static_assert(kAttentionLines == kTileWarps * kWarpRows);
static_assert(kAttentionSplit % kKeysAtOnce == 0);
static_assert(kGpuMostHeadSize == kSums * 2);  // columns: 8 of each 4 sums

/// What roles that do not attend have.
struct NoAttention {};

struct TileAttention {
  AttentionTile tile;
  float4* total;      // of this thread: number j at 32 j
  const char* q[2];   // of this thread's lines
  KeyRange seen[2];   // by them
  float sum[kSums];   // of the split: the weighted values,
  float most[2];      // the largest score times scale and log2 e,
  float weight[2];    // and the sum of weights; 0: no key was seen
  float total_most[2];
  float total_weight[2];
  bool has_lines;  // the warp has
  bool empty;      // nothing was folded yet
};

TW_FN int quad() { return lane() % 4; }
/// The tile's line that is row n + 8 h of this warp.
TW_FN uint32_t line_of(int h) {
  return static_cast<uint32_t>(tile_warp() * kWarpRows + lane() / 4 + 8 * h);
}

/// Calls f(first of four columns, places a, b, c, d): where those are among this thread's sums of
/// its first line; those of the second are 2 further on. Columns of whole 64 lie eight by eight.
template <class F>
TW_FN void for_columns(uint32_t head_size, F f) {
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    const bool whole = head_size >= 64u * (c + 1);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int eight = 32 * c + 16 * (k % 2) + k / 2, two = 32 * c + 8 * k;
      if (whole)
        f(64 * c + 16 * quad() + 4 * k, eight, eight + 4, eight + 8, eight + 12);
      else if (head_size > 64u * c + 16 * k)
        f(64 * c + 16 * k + 4 * quad(), two, two + 4, two + 1, two + 5);
    }
  }
}

// ---- What can be attended ----

TW_FN bool can_attend(const AttentionTile& tile) {
  return tile.head_size <= kGpuMostHeadSize && tile.head_size % 16 == 0 &&
         aligned(tile.q.data, 8) && tile.q.stride % 4 == 0;
}
TW_FN bool can_attend(const AttentionKeys& keys) {
  const KvLayout& kv = *keys.layout;
  return aligned(keys.k, 16) && aligned(keys.v, 16) && (kv.page | kv.head | kv.token) % 8 == 0;
}

TW_FN TileAttention begin_attention(const AttentionTile& tile, char* region, bool ok) {
  TileAttention a;
  a.tile = tile;
  a.total = reinterpret_cast<float4*>(region) + lane();
  a.has_lines = tile_warp() * kWarpRows < static_cast<int>(tile.lines());
  a.empty = true;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const uint32_t last = tile.lines() - 1, line = line_of(h) < last ? line_of(h) : last;
    const uint32_t row = line / tile.heads, head = line % tile.heads;
    a.q[h] = tile.q.data + (row * tile.q.stride + size_t{head} * tile.head_size) * 2;
    a.seen[h] = {0, 0};
    if (ok && line_of(h) <= last)
      a.seen[h] = seen_keys(in_global(tile.positions)[row], in_global(tile.slots)[row],
                            tile.window);
    a.most[h] = a.total_most[h] = -INFINITY;
    a.weight[h] = a.total_weight[h] = 0;
  }
#pragma unroll
  for (int i = 0; i < kSums; ++i) a.sum[i] = 0;
  return a;
}

// ---- One run of keys ----

/// Where this lane's key of the run lies in K and in V; keys that no line of the warp sees are
/// taken for the nearest one that is seen.
TW_FN size_t place_of_key(const AttentionKeys& keys, uint32_t key, const KeyRange& range) {
  const KvLayout& kv = *keys.layout;
  key = key < range.begin ? range.begin : key < range.end ? key : range.end - 1;
  const uint32_t page = in_global(keys.pages)[key / kv.page_size];
  return (page * kv.page + key % kv.page_size * kv.token + keys.head * kv.head) * 2;
}
TW_FN size_t place_from(size_t place, int of_lane) {
  return __shfl_sync(~0u, static_cast<unsigned long long>(place), of_lane);
}

/// scores = q k of this warp's lines and the run's keys.
TW_FN void score(const TileAttention& a, const char* k, size_t place, float (&s)[16]) {
  const char* at[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) at[j] = in_global(k) + place_from(place, 8 * j + lane() / 4);
#pragma unroll
  for (int i = 0; i < 16; ++i) s[i] = 0;
#pragma unroll 2
  for (uint32_t d = 4 * quad(); d < a.tile.head_size; d += 16) {
    const uint2 upper = *reinterpret_cast<const uint2*>(in_global(a.q[0]) + 2 * d);
    const uint2 lower = *reinterpret_cast<const uint2*>(in_global(a.q[1]) + 2 * d);
    const uint4 left = make_uint4(upper.x, lower.x, upper.y, lower.y);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const uint2 right = *reinterpret_cast<const uint2*>(at[j] + 2 * d);
      ptx::mma_bf16(reinterpret_cast<float(&)[4]>(s[4 * j]), left, right.x, right.y);
    }
  }
}

/// Scores become weights; sums and weights before are brought to the new largest score.
TW_FN void weigh(TileAttention& a, uint32_t first_key, float (&s)[16]) {
  const float by = a.tile.scale * kLog2E;
  float factor[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float most = a.most[h];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      float& x = s[i / 2 * 4 + 2 * h + i % 2];
      const uint32_t key = first_key + i / 2 * 8 + 2 * quad() + i % 2;
      x = key >= a.seen[h].begin && key < a.seen[h].end ? x * by : -INFINITY;
      most = fmaxf(most, x);
    }
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
    const float base = most == -INFINITY ? 0.0f : most;
    factor[h] = most == a.most[h] ? 1.0f : ptx::power_of_two(a.most[h] - base);
    a.most[h] = most;
    float added = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      float& x = s[i / 2 * 4 + 2 * h + i % 2];
      x = ptx::power_of_two(x - base);
      added += x;
    }
    a.weight[h] = a.weight[h] * factor[h] + added;
  }
  if (!__any_sync(~0u, factor[0] != 1.0f || factor[1] != 1.0f)) return;
#pragma unroll
  for (int i = 0; i < kSums; ++i) a.sum[i] *= factor[i / 2 % 2];
}

/// Half `i` of two keys' words.
TW_FN uint32_t half_pair(uint32_t first, uint32_t second, int i) {
  return __byte_perm(first, second, i == 0 ? 0x5410 : 0x7632);
}

/// sums of two groups of 8 columns += weights of 16 keys times the words of four of them.
TW_FN void add_two(float* sum, const uint4& weights, const uint32_t (&v)[4]) {
#pragma unroll
  for (int i = 0; i < 2; ++i)
    ptx::mma_bf16(reinterpret_cast<float(&)[4]>(sum[4 * i]), weights, half_pair(v[0], v[1], i),
                  half_pair(v[2], v[3], i));
}

/// sums += weights of 16 keys times their values, which begin at `at`.
TW_FN void add_values(TileAttention& a, const uint4& weights, const char* const (&at)[4]) {
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    if (a.tile.head_size >= 64u * (c + 1)) {
      uint4 v[4];
#pragma unroll
      for (int k = 0; k < 4; ++k)
        v[k] = *reinterpret_cast<const uint4*>(at[k] + 128 * c + lane() / 4 * 16);
      add_two(&a.sum[32 * c], weights, {v[0].x, v[1].x, v[2].x, v[3].x});
      add_two(&a.sum[32 * c + 8], weights, {v[0].y, v[1].y, v[2].y, v[3].y});
      add_two(&a.sum[32 * c + 16], weights, {v[0].z, v[1].z, v[2].z, v[3].z});
      add_two(&a.sum[32 * c + 24], weights, {v[0].w, v[1].w, v[2].w, v[3].w});
    } else {
#pragma unroll
      for (int g = 0; g < 4; ++g) {
        if (a.tile.head_size <= 64u * c + 16 * g) continue;
        uint32_t v[4];
#pragma unroll
        for (int k = 0; k < 4; ++k)
          v[k] = *reinterpret_cast<const uint32_t*>(at[k] + 128 * c + 32 * g + lane() / 4 * 4);
        add_two(&a.sum[32 * c + 8 * g], weights, v);
      }
    }
  }
}

TW_FN void attend_run(TileAttention& a, const AttentionKeys& keys, uint32_t first,
                      const KeyRange& range) {
  const size_t place = place_of_key(keys, first + lane(), range);
  float s[16];
  score(a, keys.k, place, s);
  weigh(a, first, s);
#pragma unroll
  for (int t = 0; t < 2; ++t) {
    const float* const w = &s[8 * t];
    const uint4 weights = make_uint4(ptx::bf16x2_of(w[0], w[1]), ptx::bf16x2_of(w[2], w[3]),
                                     ptx::bf16x2_of(w[4], w[5]), ptx::bf16x2_of(w[6], w[7]));
    const int key = 16 * t + 2 * quad();
    const char* const v = in_global(keys.v);
    const char* const at[4] = {v + place_from(place, key), v + place_from(place, key + 1),
                               v + place_from(place, key + 8), v + place_from(place, key + 9)};
    add_values(a, weights, at);
  }
}

// ---- The ops ----

TW_FN void attend_split(TileAttention& a, const AttentionKeys& keys, uint32_t split) {
  if (!a.has_lines) return;
  const uint32_t begin = split * kAttentionSplit, end = begin + kAttentionSplit;
  uint32_t from = end, to = begin;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    a.most[h] = -INFINITY;
    a.weight[h] = 0;
    const KeyRange& seen = a.seen[h];
    if (seen.begin >= end || seen.end <= begin || seen.empty()) continue;
    from = seen.begin < from ? seen.begin : from;
    to = seen.end > to ? seen.end : to;
  }
#pragma unroll
  for (int i = 0; i < kSums; ++i) a.sum[i] = 0;
  from = __reduce_min_sync(~0u, from);
  to = __reduce_max_sync(~0u, to);
  const KeyRange range{from < begin ? begin : from, to < end ? to : end};
#pragma unroll 1
  for (uint32_t key = range.begin / kKeysAtOnce * kKeysAtOnce; key < range.end; key += kKeysAtOnce)
    attend_run(a, keys, key, range);
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    a.weight[h] += __shfl_xor_sync(~0u, a.weight[h], 1);
    a.weight[h] += __shfl_xor_sync(~0u, a.weight[h], 2);
  }
}

TW_FN void fold_split(TileAttention& a) {
  if (!a.has_lines) return;
  float old[2], add[2];
  bool first[2], none[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    first[h] = a.total_weight[h] == 0;
    none[h] = a.weight[h] == 0;
    const float most = fmaxf(a.total_most[h], a.most[h]);
    old[h] = first[h] ? 0.0f : ptx::power_of_two(a.total_most[h] - most);
    add[h] = none[h] ? 0.0f : ptx::power_of_two(a.most[h] - most);
    const float weight = first[h] ? a.weight[h] : a.total_weight[h] * old[h] + a.weight[h] * add[h];
    a.total_weight[h] = none[h] ? a.total_weight[h] : weight;
    a.total_most[h] = none[h] ? a.total_most[h] : most;
  }
  const auto merged = [&](float total, float x, int h) {
    if (none[h]) return total;
    return first[h] ? x : __fmaf_rn(x, add[h], __fmul_rn(total, old[h]));
  };
#pragma unroll
  for (int j = 0; j < kSums / 4; ++j) {
    float4& place = a.total[32 * j];
    float4 t = make_float4(0, 0, 0, 0);
    if (!a.empty) t = place;
    const float* const x = &a.sum[4 * j];
    place = make_float4(merged(t.x, x[0], 0), merged(t.y, x[1], 0), merged(t.z, x[2], 1),
                        merged(t.w, x[3], 1));
  }
  a.empty = false;
}

/// Where line `line` of a split's results begins.
TW_FN size_t partial_line(const TileAttention& a, uint32_t line) {
  return line * AttentionLimits::partial_floats(HeadShare{0, 0, 0, 0, 0, a.tile.head_size});
}

TW_FN void put_lines(float* to, const TileAttention& a) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (line_of(h) >= a.tile.lines()) continue;
    float* const line = in_global(to) + partial_line(a, line_of(h));
    if (quad() == 0) *reinterpret_cast<float2*>(line) = make_float2(a.most[h], a.weight[h]);
    for_columns(a.tile.head_size, [&](uint32_t col, int i, int j, int k, int l) {
      float4& place = *reinterpret_cast<float4*>(line + AttentionLimits::kPartialHead + col);
      place = make_float4(a.sum[i + 2 * h], a.sum[j + 2 * h], a.sum[k + 2 * h], a.sum[l + 2 * h]);
    });
  }
}
TW_FN void take_lines(TileAttention& a, const float* from) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (line_of(h) >= a.tile.lines()) continue;
    const float* const line = in_global(from) + partial_line(a, line_of(h));
    const float2 head = *reinterpret_cast<const float2*>(line);
    a.most[h] = head.x;
    a.weight[h] = head.y;
    for_columns(a.tile.head_size, [&](uint32_t col, int i, int j, int k, int l) {
      const float4 x =
          *reinterpret_cast<const float4*>(line + AttentionLimits::kPartialHead + col);
      a.sum[i + 2 * h] = x.x;
      a.sum[j + 2 * h] = x.y;
      a.sum[k + 2 * h] = x.z;
      a.sum[l + 2 * h] = x.w;
    });
  }
}

TW_FN void store_attention(const TilePlace& to, const TileAttention& a) {
  if (!a.has_lines) return;
  float x[kSums];
#pragma unroll
  for (int j = 0; j < kSums / 4; ++j) {
    float4 t = make_float4(0, 0, 0, 0);
    if (!a.empty) t = a.total[32 * j];
    x[4 * j] = t.x;
    x[4 * j + 1] = t.y;
    x[4 * j + 2] = t.z;
    x[4 * j + 3] = t.w;
  }
  const bool whole = fours_aligned(to.data, TW_BF16) && to.stride % 4 == 0;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (line_of(h) >= a.tile.lines()) continue;
    const uint32_t row = line_of(h) / a.tile.heads, head = line_of(h) % a.tile.heads;
    char* const line = to.data + (row * to.stride + size_t{head} * a.tile.head_size) * 2;
    const bool none = a.total_weight[h] == 0;
    const float by = none ? 0.0f : __frcp_rn(a.total_weight[h]);
    for_columns(a.tile.head_size, [&](uint32_t col, int i, int j, int k, int l) {
      const auto part = [&](int at) { return none ? 0.0f : x[at + 2 * h] * by; };
      store_four(line, col, make_float4(part(i), part(j), part(k), part(l)), 4, whole, TW_BF16);
    });
  }
}

}  // namespace TW_NS
