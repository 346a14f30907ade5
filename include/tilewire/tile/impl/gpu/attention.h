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
  int thread;  // a number that the compiler knows nothing of: what is made of it is made here, and
               // not kept in registers while a program does other things
  char* region;      // of this warp
  const char* q[2];  // of this thread's lines
  KeyRange seen[2];  // by them
  float sum[kSums];  // of the split: the weighted values,
  float most[2];     // the largest score times scale and log2 e,
  float weight[2];   // and the sum of weights; 0: no key was seen
  float total_most[2];
  float total_weight[2];
  bool has_lines;  // the warp has

  TW_FN int lane() const { return thread % 32; }
  TW_FN int quad() const { return thread % 4; }
  TW_FN int row() const { return thread % 32 / 4; }
  /// The tile's line that is this thread's number h.
  TW_FN uint32_t line(int h) const {
    return static_cast<uint32_t>(thread / 32 * kWarpRows + row() + 8 * h);
  }
  /// Totals of sum[4 j] and the next three.
  TW_FN float4& total(int j) const { return reinterpret_cast<float4*>(region)[32 * j + lane()]; }
};

/// Calls f(first of four columns, places a, b, c, d): where those are among this thread's sums of
/// its first line; those of the second are 2 further on. Columns of whole 64 lie eight by eight.
template <class F>
TW_FN void for_columns(const TileAttention& a, F f) {
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    const bool whole = a.tile.head_size >= 64u * (c + 1);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int eight = 32 * c + 16 * (k % 2) + k / 2, two = 32 * c + 8 * k;
      if (whole)
        f(64 * c + 16 * a.quad() + 4 * k, eight, eight + 4, eight + 8, eight + 12);
      else if (a.tile.head_size > 64u * c + 16 * k)
        f(64 * c + 16 * k + 4 * a.quad(), two, two + 4, two + 1, two + 5);
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
  a.thread = ptx::unknown(static_cast<int>(threadIdx.x));
  a.region = region;
  a.has_lines = a.line(0) / kWarpRows * kWarpRows < tile.lines();
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const uint32_t last = tile.lines() - 1, line = a.line(h) < last ? a.line(h) : last;
    const uint32_t row = line / tile.heads, head = line % tile.heads;
    a.q[h] = tile.q.data + (row * tile.q.stride + size_t{head} * tile.head_size) * 2;
    a.seen[h] = {0, 0};
    if (ok && a.line(h) <= last)
      a.seen[h] =
          seen_keys(in_global(tile.positions)[row], in_global(tile.slots)[row], tile.window);
    a.most[h] = a.total_most[h] = -INFINITY;
    a.weight[h] = a.total_weight[h] = 0;
  }
#pragma unroll
  for (int i = 0; i < kSums; ++i) a.sum[i] = 0;
#pragma unroll
  for (int j = 0; j < kSums / 4; ++j) a.total(j) = make_float4(0, 0, 0, 0);
  return a;
}

// ---- One run of keys ----

/// Where this lane's key of the run lies in K and in V, in units of 16 bytes; keys that no line of
/// the warp sees are taken for the nearest one that is seen.
TW_FN uint32_t place_of_key(const AttentionKeys& keys, uint32_t key, const KeyRange& range) {
  const KvLayout& kv = *keys.layout;
  key = key < range.begin ? range.begin : key < range.end ? key : range.end - 1;
  const uint32_t page = in_global(keys.pages)[key / kv.page_size];
  const size_t element = page * kv.page + key % kv.page_size * kv.token + keys.head * kv.head;
  return static_cast<uint32_t>(element / 8);
}
/// The key of a lane of this warp, from byte `offset` on.
TW_FN const char* key_at(const char* base, int place, uint32_t offset) {
  return in_global(base) + size_t{static_cast<uint32_t>(place)} * 16 + offset;
}

/// scores = q k of this warp's lines and the run's keys.
TW_FN void score(const TileAttention& a, const char* k, int place, float (&s)[16]) {
  int at[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) at[j] = __shfl_sync(~0u, place, 8 * j + a.row());
#pragma unroll
  for (int i = 0; i < 16; ++i) s[i] = 0;
#pragma unroll 2
  for (uint32_t d = 4 * a.quad(); d < a.tile.head_size; d += 16) {
    const uint2 upper = *reinterpret_cast<const uint2*>(in_global(a.q[0]) + 2 * d);
    const uint2 lower = *reinterpret_cast<const uint2*>(in_global(a.q[1]) + 2 * d);
    const uint4 left = make_uint4(upper.x, lower.x, upper.y, lower.y);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const uint2 right = *reinterpret_cast<const uint2*>(key_at(k, at[j], 2 * d));
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
      const uint32_t key = first_key + i / 2 * 8 + 2 * a.quad() + i % 2;
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

/// sums += weights of 16 keys times their values. `at`: the places of this thread's four.
TW_FN void add_values(TileAttention& a, const uint4& weights, const char* values,
                      const int (&at)[4]) {
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    if (a.tile.head_size >= 64u * (c + 1)) {
      uint4 v[4];
#pragma unroll
      for (int k = 0; k < 4; ++k)
        v[k] = *reinterpret_cast<const uint4*>(key_at(values, at[k], 128 * c + a.row() * 16));
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
          v[k] = *reinterpret_cast<const uint32_t*>(
              key_at(values, at[k], 128 * c + 32 * g + a.row() * 4));
        add_two(&a.sum[32 * c + 8 * g], weights, v);
      }
    }
  }
}

TW_FN void attend_run(TileAttention& a, const AttentionKeys& keys, uint32_t first,
                      const KeyRange& range) {
  a.thread = ptx::unknown(a.thread);
  int place = static_cast<int>(place_of_key(keys, first + a.lane(), range));
  float s[16];
  score(a, keys.k, place, s);
  weigh(a, first, s);
  uint32_t w[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) w[i] = ptx::bf16x2_of(s[2 * i], s[2 * i + 1]);
  place = ptx::unknown(place);
  a.thread = ptx::unknown(a.thread);
#pragma unroll
  for (int t = 0; t < 2; ++t) {
    const uint4 weights = make_uint4(w[4 * t], w[4 * t + 1], w[4 * t + 2], w[4 * t + 3]);
    const int key = 16 * t + 2 * a.quad();
    const int at[4] = {__shfl_sync(~0u, place, key), __shfl_sync(~0u, place, key + 1),
                       __shfl_sync(~0u, place, key + 8), __shfl_sync(~0u, place, key + 9)};
    add_values(a, weights, keys.v, at);
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
  bool none[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const bool first = a.total_weight[h] == 0;  // the total is 0
    none[h] = a.weight[h] == 0;
    const float most = fmaxf(a.total_most[h], a.most[h]);
    old[h] = first ? 0.0f : ptx::power_of_two(a.total_most[h] - most);
    add[h] = ptx::power_of_two(a.most[h] - most);
    const float weight = first ? a.weight[h] : a.total_weight[h] * old[h] + a.weight[h] * add[h];
    a.total_weight[h] = none[h] ? a.total_weight[h] : weight;
    a.total_most[h] = none[h] ? a.total_most[h] : most;
  }
  const auto merged = [&](float total, float x, int h) {
    return none[h] ? total : __fmaf_rn(x, add[h], __fmul_rn(total, old[h]));
  };
#pragma unroll
  for (int j = 0; j < kSums / 4; ++j) {
    if (j % 4 == 0) __syncwarp();  // all totals at once would not fit in registers
    float4& place = a.total(j);
    const float4 t = place;
    const float* const x = &a.sum[4 * j];
    place = make_float4(merged(t.x, x[0], 0), merged(t.y, x[1], 0), merged(t.z, x[2], 1),
                        merged(t.w, x[3], 1));
  }
}

// ---- Partial results: of a line's values, tile t of 8 columns at 8 t, as they lie among sums ----

TW_FN size_t partial_floats(const TileAttention& a) {
  return AttentionLimits::partial_floats(HeadShare{0, 0, 0, 0, 0, a.tile.head_size});
}
/// Largest score and weight of this thread's line h.
TW_FN float2* partial_head(float* lines, const TileAttention& a, int h) {
  return reinterpret_cast<float2*>(in_global(lines) + a.line(h) * partial_floats(a));
}
/// Calls f(h, place, t) for this thread's two floats of tile t of its lines, which there are.
template <class F>
TW_FN void for_partial(const TileAttention& a, float* lines, F f) {
  float* const own = lines + AttentionLimits::kPartialHead + 2 * a.quad();
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (a.line(h) >= a.tile.lines()) continue;
    float* const line = in_global(ptx::unknown(own + a.line(h) * partial_floats(a)));
#pragma unroll
    for (int t = 0; t < kSums / 4; ++t)
      if (8u * t < a.tile.head_size) f(h, reinterpret_cast<float2*>(line + 8 * t), t);
  }
}

TW_FN void put_lines(float* to, const TileAttention& a) {
#pragma unroll
  for (int h = 0; h < 2; ++h)
    if (a.quad() == 0 && a.line(h) < a.tile.lines())
      *partial_head(to, a, h) = make_float2(a.most[h], a.weight[h]);
  for_partial(a, to, [&](int h, float2* place, int t) {
    *place = make_float2(a.sum[4 * t + 2 * h], a.sum[4 * t + 2 * h + 1]);
  });
}
TW_FN void take_lines(TileAttention& a, float* from) {
#pragma unroll
  for (int i = 0; i < kSums; ++i) a.sum[i] = 0;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (a.line(h) >= a.tile.lines()) continue;
    const float2 head = *partial_head(from, a, h);
    a.most[h] = head.x;
    a.weight[h] = head.y;
  }
  for_partial(a, from, [&](int h, const float2* place, int t) {
    a.sum[4 * t + 2 * h] = place->x;
    a.sum[4 * t + 2 * h + 1] = place->y;
  });
}

TW_FN void store_attention(const TilePlace& to, const TileAttention& a) {
  if (!a.has_lines) return;
  const bool whole = fours_aligned(to.data, TW_BF16) && to.stride % 4 == 0;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (a.line(h) >= a.tile.lines()) continue;
    const uint32_t row = a.line(h) / a.tile.heads, head = a.line(h) % a.tile.heads;
    char* const line = to.data + (row * to.stride + size_t{head} * a.tile.head_size) * 2;
    const bool none = a.total_weight[h] == 0;
    const float by = none ? 0.0f : __frcp_rn(a.total_weight[h]);
    for_columns(a, [&](uint32_t col, int i, int j, int k, int l) {
      const auto part = [&](int at) {
        return none ? 0.0f : reinterpret_cast<const float*>(&a.total(at / 4))[at % 4 + 2 * h] * by;
      };
      store_four(line, col, make_float4(part(i), part(j), part(k), part(l)), 4, whole, TW_BF16);
    });
  }
}

}  // namespace TW_NS
