// Attention on CPUs: two products of the multiply step (K packed as columns, V as rows of B) around
// one pass over the scores of each line. A split is one step of the second product.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tilewire/kernels/attention.h"
#include "tilewire/tile/impl/cpu/mma_vector.h"
#include "tilewire/tile/impl/cpu/tile_elements.h"
#include "tilewire/tile/impl/cpu/tile_left.h"
#include "tilewire/tile/impl/cpu/tile_lines.h"
#include "tilewire/tile/impl/cpu/tile_pack.h"
#include "tilewire/tile/impl/cpu/tile_scratch.h"

namespace TW_NS {

/// What the first factor of a product of bf16 is made of.
#if defined(TW_TARGET_CPU_AMX) || (defined(__AVX512BF16__) && defined(TW_TARGET_VECTOR_512))
inline constexpr bool kBf16Products = true;
#else
inline constexpr bool kBf16Products = false;
#endif
using LeftFactor = std::conditional_t<kBf16Products, uint16_t, float>;

static_assert(kAttentionSplit <= kCpuTile.k && kAttentionSplit % kPackedK == 0);
static_assert(kMostHeadSize <= kCpuTile.k);

/// Bytes from the start of a block's scratch; sums of tiles are not alive at the same time.
/// Scores and results lie by panels, one row more apart than there are lines: so the panels of a
/// line do not fall into one set of the cache.
struct AttentionScratch {
  static constexpr size_t kPanelRows = kAttentionLines + 1;
  static constexpr size_t kPanel = kPanelRows * kPanelCols * sizeof(float);
  static constexpr size_t kFactor = kAttentionLines * kCpuTile.k * sizeof(float);
  static constexpr size_t kResult = divide_up(kMostHeadSize, kPanelCols) * kPanel;
  static constexpr size_t kLine = kAttentionLines * sizeof(float);

  static constexpr size_t kQueries = 0;
  static constexpr size_t kWeights = kQueries + kFactor;
  static constexpr size_t kScores = kWeights + kFactor;
  static constexpr size_t kKeys = kScores + kAttentionSplit / kPanelCols * kPanel;
  static constexpr size_t kValues = kKeys + kAttentionSplit * kMostHeadSize * sizeof(uint16_t);
  static constexpr size_t kResults = kValues + kAttentionSplit * kMostHeadSize * sizeof(uint16_t);
  static constexpr size_t kLines = kResults + 2 * kResult;
  static constexpr size_t kEnd = kLines + 4 * kLine;
};
static_assert(AttentionScratch::kEnd <= kTileScratch);

/// What a set of lines has of some splits: largest score (times scale and log2 e), sum of weights
/// (0: no key was seen), weighted sum of values by panels.
struct LineSums {
  float* most;
  float* weight;
  float* values;

  TW_FN float* row(size_t panel, size_t i) const {
    return values + (panel * AttentionScratch::kPanelRows + i) * kPanelCols;
  }
};

struct CpuAttention {
  AttentionTile tile;
  char* scratch;
  LineSums split, total;
  bool packed;  // queries are
  bool empty;   // nothing was folded yet

  TW_FN size_t panels() const { return divide_up(tile.head_size, kPanelCols); }
  TW_FN LeftFactor* queries() const {
    return reinterpret_cast<LeftFactor*>(scratch + AttentionScratch::kQueries);
  }
  TW_FN LeftFactor* weights() const {
    return reinterpret_cast<LeftFactor*>(scratch + AttentionScratch::kWeights);
  }
  TW_FN float* scores() const {
    return reinterpret_cast<float*>(scratch + AttentionScratch::kScores);
  }
};

TW_FN CpuAttention begin_attention(const AttentionTile& tile, char* scratch) {
  using S = AttentionScratch;
  const auto sums = [&](size_t i) {
    const auto at = [&](size_t bytes) { return reinterpret_cast<float*>(scratch + bytes); };
    return LineSums{at(S::kLines + 2 * i * S::kLine), at(S::kLines + (2 * i + 1) * S::kLine),
                    at(S::kResults + i * S::kResult)};
  };
  return {tile, scratch, sums(0), sums(1), false, true};
}

// ---- Weights ----

/// 2^x for x <= 0, and exactly 1 for 0. Relative error below 2e-7; below -126 it is 2^-126, so that
/// results are normal numbers. Coefficients: a fit of least largest error (9e-8) on -1/2 .. 1/2.
TW_INLINE Floats power_of_two(Floats x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: the sum's low bits are the rounded number
  x = select(x < -126.0f, splat<Floats>(-126.0f), x);
  const Floats shifted = x + kRound;
  const Floats r = x - (shifted - kRound);
  Floats p = splat<Floats>(1.326472229e-3f);
  p = multiply_add(p, r, splat<Floats>(9.671512988e-3f));
  p = multiply_add(p, r, splat<Floats>(5.550733760e-2f));
  p = multiply_add(p, r, splat<Floats>(2.402224208e-1f));
  p = multiply_add(p, r, splat<Floats>(6.931469776e-1f));
  p = multiply_add(p, r, splat<Floats>(1.0f));
  return bits_as<Floats>(bits_as<Words>(p) + (bits_as<Words>(shifted) << 23));
}

inline constexpr size_t kPanelVectors = kPanelCols / kLanes;
inline constexpr float kLog2E = 1.44269504f;

/// Which of the keys from `key` on are in `seen`, by lane.
TW_INLINE auto seen_lanes(uint32_t key, const KeyRange& seen) {
  using Signed = Vec<int32_t>;
  Signed lane;
  for (size_t l = 0; l < kLanes; ++l) lane[l] = static_cast<int32_t>(l);
  const Signed at = lane + static_cast<int32_t>(key);
  return (at >= static_cast<int32_t>(seen.begin)) & (at < static_cast<int32_t>(seen.end));
}

/// f(panel of the split's scores, its first key, whether all of its keys are seen) for the panels
/// of `keys` in which `seen` has any. Both ranges are not empty.
template <class F>
TW_INLINE void each_seen_panel(const KeyRange& keys, const KeyRange& seen, F f) {
  const uint32_t first = (seen.begin - keys.begin) / kPanelCols;
  const uint32_t end = (seen.end - 1 - keys.begin) / kPanelCols + 1;
  for (uint32_t p = first; p < end; ++p) {
    const uint32_t key = keys.begin + p * kPanelCols;
    f(p, key, key >= seen.begin && key + kPanelCols <= seen.end);
  }
}

TW_INLINE float most_lane(Floats x) {
  float most = x[0];
  for (size_t l = 1; l < kLanes; ++l) most = x[l] > most ? x[l] : most;
  return most;
}
/// The lanes' sum, halves added to each other.
TW_INLINE float lane_sum(Floats x) {
  float lane[kLanes];
  store_vector(lane, x);
  for (size_t half = kLanes / 2; half != 0; half /= 2)
    for (size_t l = 0; l < half; ++l) lane[l] += lane[l + half];
  return lane[0];
}

/// Stores weights of a panel's keys as the second product wants them.
TW_INLINE void store_weights(LeftFactor* to, const Floats* weights) {
  for (size_t v = 0; v < kPanelVectors; ++v) {
    if constexpr (kBf16Products)
      store_floats<TW_BF16>(to + v * kLanes, weights[v]);
    else
      store_floats<TW_FP32>(to + v * kLanes, weights[v]);
  }
}

/// Line `i`'s weights of the keys of `keys` (whole panels), of which it sees `seen`, from its
/// scores; zeros for the others.
TW_FN void weigh_line(const CpuAttention& sum, size_t i, const KeyRange& keys,
                      const KeyRange& seen) {
  using S = AttentionScratch;
  LeftFactor* const to = sum.weights() + i * kCpuTile.k;
  const float* const scores = sum.scores() + i * kPanelCols;
  const auto clear = [&](uint32_t from, uint32_t end) {
    if (from < end) __builtin_memset(to + from, 0, (end - from) * sizeof(LeftFactor));
  };
  if (seen.empty()) {
    sum.split.weight[i] = 0;
    return clear(0, keys.end - keys.begin);
  }
  const Floats none = splat<Floats>(-__builtin_inff());
  Floats best[kPanelVectors];
  for (Floats& x : best) x = none;
  each_seen_panel(keys, seen, [&](size_t p, uint32_t key, bool whole) {
    const float* const from = scores + p * S::kPanelRows * kPanelCols;
    for (size_t v = 0; v < kPanelVectors; ++v) {
      Floats x = load_vector<Floats>(from + v * kLanes);
      if (!whole) x = select(seen_lanes(key + static_cast<uint32_t>(v * kLanes), seen), x, none);
      best[v] = select(x > best[v], x, best[v]);
    }
  });
  for (size_t v = 1; v < kPanelVectors; ++v) best[0] = select(best[v] > best[0], best[v], best[0]);
  const float by = sum.tile.scale * kLog2E, most = most_lane(best[0]) * by;
  const Floats factor = splat<Floats>(by), shift = splat<Floats>(-most);
  Floats added[kPanelVectors] = {};
  uint32_t begin = 0, end = 0;
  each_seen_panel(keys, seen, [&](uint32_t p, uint32_t key, bool whole) {
    const float* const from = scores + p * S::kPanelRows * kPanelCols;
    Floats weights[kPanelVectors];
    for (size_t v = 0; v < kPanelVectors; ++v) {
      const Floats x = load_vector<Floats>(from + v * kLanes);
      weights[v] = power_of_two(multiply_add(x, factor, shift));
      if (!whole)
        weights[v] =
            select(seen_lanes(key + static_cast<uint32_t>(v * kLanes), seen), weights[v], Floats{});
      added[v] += weights[v];
    }
    store_weights(to + p * kPanelCols, weights);
    if (end == 0) begin = p;
    end = p + 1;
  });
  clear(0, begin * kPanelCols);
  clear(end * kPanelCols, keys.end - keys.begin);
  for (size_t half = kPanelVectors / 2; half != 0; half /= 2)
    for (size_t v = 0; v < half; ++v) added[v] += added[v + half];
  sum.split.most[i] = most;
  sum.split.weight[i] = lane_sum(added[0]);
}

// ---- Packing ----

inline constexpr size_t kKeyBytes = kMostHeadSize * sizeof(uint16_t);
alignas(64) inline constexpr char kNoKey[kKeyBytes] = {};

/// Where each key of a panel has its head of K or V; zeros for those that nobody sees. Nothing is
/// read beyond the head: the last part of it, where it is no whole group, is copied.
struct PanelOfKeys {
  const char* key[kPanelCols];
  const char* last[kPanelCols];  // the last group of 32 elements
  alignas(64) char copies[kPanelCols][kPackedK * sizeof(uint16_t)];
};
TW_FN void find_panel(PanelOfKeys* panel, const char* base, const AttentionKeys& keys,
                      uint32_t first, const KeyRange& seen) {
  const KvLayout& kv = *keys.layout;
  const size_t groups = divide_up(kv.head_size, kPackedK);
  const size_t left = kv.head_size - (groups - 1) * kPackedK;
  uint32_t page = first / kv.page_size, place = first % kv.page_size;
  for (uint32_t j = 0; j < kPanelCols; ++j) {
    const bool is = first + j >= seen.begin && first + j < seen.end;
    panel->key[j] = kNoKey;
    if (is)
      panel->key[j] =
          base + (keys.pages[page] * kv.page + keys.head * kv.head + place * kv.token) * 2;
    if (++place == kv.page_size) place = 0, ++page;
    panel->last[j] = panel->key[j] + (groups - 1) * kPackedK * 2;
    if (left == kPackedK) continue;
    __builtin_memset(panel->copies[j], 0, sizeof panel->copies[j]);
    __builtin_memcpy(panel->copies[j], panel->last[j], kPackedK);  // half of a group
    panel->last[j] = panel->copies[j];
  }
}

/// A panel of K as 32 columns of B.
TW_FN void pack_keys(char* to, const PanelOfKeys& panel, size_t groups) {
  using Part = VecOf<uint32_t, 16>::type;
  constexpr size_t kLine = kPanelTileCols * 4;  // two k of 16 columns
  for (size_t g = 0; g < groups; ++g, to += 32 * kLine) {
    for (size_t j = 0; j < kPanelCols; j += 4) {
      char* const at = to + j / kPanelTileCols * 16 * kLine + j % kPanelTileCols * 4;
      const char* from[4];
      for (size_t i = 0; i < 4; ++i)
        from[i] = g + 1 == groups ? panel.last[j + i] : panel.key[j + i] + g * kPackedK * 2;
      for (size_t w = 0; w < 16; w += 4) {
        Part in[4];
        for (size_t i = 0; i < 4; ++i) in[i] = load_vector<Part>(from[i] + w * 4);
        const Part a = __builtin_shufflevector(in[0], in[1], 0, 4, 1, 5);
        const Part b = __builtin_shufflevector(in[2], in[3], 0, 4, 1, 5);
        const Part c = __builtin_shufflevector(in[0], in[1], 2, 6, 3, 7);
        const Part d = __builtin_shufflevector(in[2], in[3], 2, 6, 3, 7);
        store_vector(at + w * kLine, __builtin_shufflevector(a, b, 0, 1, 4, 5));
        store_vector(at + (w + 1) * kLine, __builtin_shufflevector(a, b, 2, 3, 6, 7));
        store_vector(at + (w + 2) * kLine, __builtin_shufflevector(c, d, 0, 1, 4, 5));
        store_vector(at + (w + 3) * kLine, __builtin_shufflevector(c, d, 2, 3, 6, 7));
      }
    }
  }
}

/// A panel of V as 32 rows of B, whose panels are `panel_bytes` apart.
TW_FN void pack_values(char* to, size_t panel_bytes, const PanelOfKeys& panel, size_t groups) {
  constexpr size_t kLine = kPanelTileCols * 4;  // two keys of 16 columns
  for (size_t g = 0; g < groups; ++g, to += panel_bytes)
    for (size_t j = 0; j < kPanelCols; j += 2) {
      const bool last = g + 1 == groups;
      const char* const even = last ? panel.last[j] : panel.key[j] + g * kPackedK * 2;
      const char* const odd = last ? panel.last[j + 1] : panel.key[j + 1] + g * kPackedK * 2;
      for (size_t c = 0; c < kPanelCols; c += kLanes) {
        const Words low = __builtin_convertvector(load_vector<Halves>(even + c * 2), Words);
        const Words high = __builtin_convertvector(load_vector<Halves>(odd + c * 2), Words);
        char* const line = to + c / kPanelTileCols * 16 * kLine + j / 2 * kLine;
        store_vector(line + c % kPanelTileCols * 4, low | (high << 16));
      }
    }
}

TW_FN void pack_queries(CpuAttention& sum) {
  if (sum.packed) return;
  sum.packed = true;
  const AttentionTile& tile = sum.tile;
  for (size_t r = 0; r < tile.rows; ++r)
    for (size_t h = 0; h < tile.heads; ++h)
      pack_left_row(sum.queries() + (r * tile.heads + h) * kCpuTile.k,
                    tile.q.data + (r * tile.q.stride + h * tile.head_size) * 2, TW_BF16,
                    tile.head_size);
}

// ---- The ops ----

/// One split. `multiply`: the target's product of bf16.
template <class Multiply>
TW_FN void attend_split(CpuAttention& sum, const AttentionKeys& keys, uint32_t split,
                        Multiply multiply) {
  using S = AttentionScratch;
  const AttentionTile& tile = sum.tile;
  const size_t lines = tile.lines(), groups = sum.panels();
  const KeyRange here{split * kAttentionSplit, (split + 1) * kAttentionSplit};
  const auto cut = [&](const KeyRange& r) {
    return KeyRange{r.begin > here.begin ? r.begin : here.begin,
                    r.end < here.end ? r.end : here.end};
  };
  const KeyRange seen = cut(seen_keys(tile.positions, tile.slots, tile.rows, tile.window));
  for (size_t i = 0; i < lines; ++i) sum.split.weight[i] = 0;
  if (seen.empty()) return;
  constexpr uint32_t kPanel = kPanelCols;
  const KeyRange range{seen.begin / kPanel * kPanel, (seen.end + kPanel - 1) / kPanel * kPanel};
  const size_t panels = (range.end - range.begin) / kPanel;
  pack_queries(sum);

  PanelOfKeys panel;
  MmaStep s{};
  s.a = sum.queries();
  s.rows = lines;
  s.ks = tile.head_size;
  s.b = sum.scratch + S::kKeys;
  s.panel_bytes = panel_bytes(tile.head_size, TW_BF16);
  s.panels = panels;
  s.sums = sum.scores();
  s.panel_rows = S::kPanelRows;
  s.first = true;
  for (size_t p = 0; p < panels; ++p) {
    find_panel(&panel, keys.k, keys, range.begin + static_cast<uint32_t>(p * kPanelCols), seen);
    pack_keys(sum.scratch + S::kKeys + p * s.panel_bytes, panel, groups);
  }
  multiply(s);

  for (size_t r = 0; r < tile.rows; ++r) {
    const KeyRange of_row = cut(seen_keys(tile.positions[r], tile.slots[r], tile.window));
    for (size_t h = 0; h < tile.heads; ++h) weigh_line(sum, r * tile.heads + h, range, of_row);
  }

  s.a = sum.weights();
  s.ks = range.end - range.begin;
  s.b = sum.scratch + S::kValues;
  s.panel_bytes = panel_bytes(s.ks, TW_BF16);
  s.panels = groups;
  s.sums = sum.split.values;
  for (size_t p = 0; p < panels; ++p) {
    find_panel(&panel, keys.v, keys, range.begin + static_cast<uint32_t>(p * kPanelCols), seen);
    pack_values(sum.scratch + S::kValues + p * kGroup * sizeof(uint16_t), s.panel_bytes, panel,
                groups);
  }
  multiply(s);
}

/// total = total and split. Lines that saw nothing in the split stay as they are.
TW_FN void fold_split(CpuAttention& sum) {
  LineSums &total = sum.total, &split = sum.split;
  const size_t lines = sum.tile.lines(), panels = sum.panels();
  if (sum.empty) {
    const LineSums first = split;
    split = total;
    total = first;
    sum.empty = false;
    return;
  }
  for (size_t i = 0; i < lines; ++i) {
    if (split.weight[i] == 0) continue;
    if (total.weight[i] == 0) total.most[i] = split.most[i];
    const float most = total.most[i] > split.most[i] ? total.most[i] : split.most[i];
    const Floats old = power_of_two(splat<Floats>(total.most[i] - most));
    const Floats add = power_of_two(splat<Floats>(split.most[i] - most));
    const bool first = total.weight[i] == 0;
    total.most[i] = most;
    total.weight[i] = first ? split.weight[i] : total.weight[i] * old[0] + split.weight[i] * add[0];
    for (size_t p = 0; p < panels; ++p)
      for (size_t j = 0; j < kPanelCols; j += kLanes) {
        const Floats x = load_vector<Floats>(split.row(p, i) + j);
        float* const at = total.row(p, i) + j;
        store_vector(at, first ? x : multiply_add(x, add, load_vector<Floats>(at) * old));
      }
  }
}

/// f(panel, first column, columns) of a head.
template <class F>
TW_INLINE void each_part_of_head(size_t head_size, F f) {
  for (size_t j = 0; j < head_size; j += kPanelCols)
    f(j / kPanelCols, j, head_size - j < kPanelCols ? head_size - j : kPanelCols);
}

TW_FN void store_attention(const TilePlace& to, const CpuAttention& sum) {
  const AttentionTile& tile = sum.tile;
  for (size_t i = 0; i < tile.lines(); ++i) {
    const size_t col = i % tile.heads * tile.head_size;
    char* const at = to.data + (i / tile.heads * to.stride + col) * 2;
    if (sum.empty || sum.total.weight[i] == 0) {
      __builtin_memset(at, 0, tile.head_size * 2);
      continue;
    }
    const Floats by = splat<Floats>(1.0f / sum.total.weight[i]);
    each_part_of_head(tile.head_size, [&](size_t p, size_t j, size_t n) {
      for_lanes(n, [&](size_t l, size_t lanes) {
        store_some<TW_BF16>(at + (j + l) * 2, load_vector<Floats>(sum.total.row(p, i) + l) * by,
                            lanes);
      });
    });
  }
}

TW_FN void put_lines(float* to, const CpuAttention& sum) {
  const size_t n = sum.tile.head_size;
  for (size_t i = 0; i < sum.tile.lines(); ++i, to += AttentionLimits::kPartialHead + n) {
    to[0] = sum.split.most[i];
    to[1] = sum.split.weight[i];
    each_part_of_head(n, [&](size_t p, size_t j, size_t count) {
      __builtin_memcpy(to + AttentionLimits::kPartialHead + j, sum.split.row(p, i),
                       count * sizeof(float));
    });
  }
}

TW_FN void take_lines(CpuAttention& sum, const float* from) {
  const size_t n = sum.tile.head_size;
  for (size_t i = 0; i < sum.tile.lines(); ++i, from += AttentionLimits::kPartialHead + n) {
    sum.split.most[i] = from[0];
    sum.split.weight[i] = from[1];
    each_part_of_head(n, [&](size_t p, size_t j, size_t count) {
      __builtin_memcpy(sum.split.row(p, i), from + AttentionLimits::kPartialHead + j,
                       count * sizeof(float));
    });
  }
}

}  // namespace TW_NS
