// Attention on CPUs: two products of the multiply step (K packed as columns, V as rows of B) around
// one pass over the scores of each line. A split is one step of the second product.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

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

/// Lines whose scores and weights are alive at a time: they stay in the L1 and L2 caches between
/// the products. So few lines of an item do without packed K and V of a whole split: parts of it
/// are multiplied as soon as they are packed.
inline constexpr uint32_t kLinesAtOnce = 32, kFewLines = 16;

/// Bytes from the start of a block's scratch; sums of tiles are not alive at the same time.
/// Scores and results lie by panels, one row more apart than there are lines: so the panels of a
/// line do not fall into one set of the cache.
struct AttentionScratch {
  static constexpr size_t kScoreRows = kLinesAtOnce + 1, kResultRows = kAttentionLines + 1;
  static constexpr size_t kRow = kPanelCols * sizeof(float);
  static constexpr size_t kFactorRow = kCpuTile.k * sizeof(float);
  static constexpr size_t kPacked = kAttentionSplit * kMostHeadSize * sizeof(uint16_t);
  static constexpr size_t kResult = divide_up(kMostHeadSize, kPanelCols) * kResultRows * kRow;
  static constexpr size_t kLine = kAttentionLines * sizeof(float);

  static constexpr size_t kQueries = 0;
  static constexpr size_t kWeights = kQueries + kAttentionLines * kFactorRow;
  static constexpr size_t kScores = kWeights + kLinesAtOnce * kFactorRow;
  static constexpr size_t kKeys = kScores + kAttentionSplit / kPanelCols * kScoreRows * kRow;
  static constexpr size_t kValues = kKeys + kPacked;
  static constexpr size_t kResults = kValues + kPacked;
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
    return values + (panel * AttentionScratch::kResultRows + i) * kPanelCols;
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

/// 2^x for x <= 0, and exactly 1 for 0. Relative error below 3e-7, or 2e-4 where the result will be
/// rounded to bf16 anyway; below -126 it is 2^-126, so that results are normal numbers.
/// Coefficients: fits of least largest error on -1/2 .. 1/2.
template <bool rough = false>
TW_INLINE Floats power_of_two(Floats x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: the sum's low bits are the rounded number
  const Floats least = splat<Floats>(-126.0f);
  x = select(least > x, least, x);
  const Floats shifted = x + kRound;
  const Floats r = x - (shifted - kRound);
  Floats p;
  if constexpr (rough) {
    p = multiply_add(splat<Floats>(5.500893001e-2f), r, splat<Floats>(2.422109596e-1f));
    p = multiply_add(p, r, splat<Floats>(6.932829273e-1f));
  } else {
    p = multiply_add(splat<Floats>(1.326472229e-3f), r, splat<Floats>(9.671512988e-3f));
    p = multiply_add(p, r, splat<Floats>(5.550733760e-2f));
    p = multiply_add(p, r, splat<Floats>(2.402224208e-1f));
    p = multiply_add(p, r, splat<Floats>(6.931469776e-1f));
  }
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
#if defined(__AVX512BF16__) && defined(TW_TARGET_VECTOR_512)
  if constexpr (kBf16Products)
    return store_vector(
        to, _mm512_cvtne2ps_pbh(bits_as<__m512>(weights[1]), bits_as<__m512>(weights[0])));
#endif
  for (size_t v = 0; v < kPanelVectors; ++v) {
    if constexpr (kBf16Products)
      store_floats<TW_BF16>(to + v * kLanes, weights[v]);
    else
      store_floats<TW_FP32>(to + v * kLanes, weights[v]);
  }
}

/// Line `i`'s weights of the keys of `keys` (whole panels), of which it sees `seen`, from its
/// scores, which are number `place` of those alive; zeros for the others.
TW_FN void weigh_line(const CpuAttention& sum, size_t i, size_t place, const KeyRange& keys,
                      const KeyRange& seen) {
  using S = AttentionScratch;
  LeftFactor* const to = sum.weights() + place * kCpuTile.k;
  const float* const scores = sum.scores() + place * kPanelCols;
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
    const float* const from = scores + p * S::kScoreRows * kPanelCols;
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
    const float* const from = scores + p * S::kScoreRows * kPanelCols;
    Floats weights[kPanelVectors];
    for (size_t v = 0; v < kPanelVectors; ++v) {
      const Floats x = load_vector<Floats>(from + v * kLanes);
      weights[v] = power_of_two<kBf16Products>(multiply_add(x, factor, shift));
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

/// Where each key of a panel has its head of K or V; zeros for those that nobody sees.
struct PanelOfKeys {
  const char* key[kPanelCols];
};
/// Last groups of 32 elements of heads that end with half of one: nothing is read beyond a head.
struct LastGroups {
  alignas(64) char copy[kPanelCols][kPackedK * sizeof(uint16_t)];
  PanelOfKeys at;
  TW_FN void fill(const PanelOfKeys& panel, size_t head_size) {
    constexpr size_t kHalf = kPackedK / 2 * sizeof(uint16_t);
    for (size_t j = 0; j < kPanelCols; ++j) {
      at.key[j] = copy[j];
      __builtin_memcpy(copy[j], panel.key[j] + head_size * sizeof(uint16_t) - kHalf, kHalf);
      __builtin_memset(copy[j] + kHalf, 0, kHalf);
    }
  }
};

/// f(j, address) for those of the panel's keys, which begin with `first`, that are in `seen`.
template <class F>
TW_INLINE void each_key(const char* base, const AttentionKeys& keys, uint32_t first,
                        const KeyRange& seen, F f) {
  const KvLayout& kv = *keys.layout;
  const uint32_t begin = first < seen.begin ? seen.begin : first;
  const uint32_t panel_end = first + static_cast<uint32_t>(kPanelCols);
  const uint32_t end = panel_end < seen.end ? panel_end : seen.end;
  base += keys.head * kv.head * sizeof(uint16_t);
  uint32_t page = begin / kv.page_size, place = begin % kv.page_size;
  for (uint32_t j = begin; j < end; ++page, place = 0) {
    const char* at = base + (keys.pages[page] * kv.page + place * kv.token) * sizeof(uint16_t);
    for (; j < end && place < kv.page_size; ++j, ++place, at += kv.token * sizeof(uint16_t))
      f(j - first, at);
  }
}

/// Finds a panel that will be read later, and asks for it.
TW_FN void find_panel(PanelOfKeys* panel, const char* base, const AttentionKeys& keys,
                      uint32_t first, const KeyRange& seen) {
  const size_t bytes = keys.layout->head_size * sizeof(uint16_t);
  if (first < seen.begin || first + kPanelCols > seen.end)
    for (const char*& key : panel->key) key = kNoKey;
  each_key(base, keys, first, seen, [&](size_t j, const char* at) {
    panel->key[j] = at;
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(at + i);
  });
}

/// Vectors of words, of quarters (16 bytes) with a place each. At most two: wider ones have fewer
/// units for shuffles.
template <size_t quarters>
struct Quarters;
template <>
struct Quarters<1> {
  using V = VecOf<uint32_t, 16>::type;
  TW_INLINE static V load(const char* const* from, size_t offset) {
    return load_vector<V>(from[0] + offset);
  }
  /// Words a, b, c, d (0 .. 3 of x, 4 .. 7 of y) of each quarter.
  template <int a, int b, int c, int d>
  TW_INLINE static V mix(V x, V y) {
    return __builtin_shufflevector(x, y, a, b, c, d);
  }
};
#if defined(TW_TARGET_VECTOR_512) || defined(TW_TARGET_VECTOR_256)
template <>
struct Quarters<2> {
  using V = VecOf<uint32_t, 32>::type;
  using Q = Quarters<1>;
  TW_INLINE static V load(const char* const* from, size_t offset) {
    return __builtin_shufflevector(Q::load(from, offset), Q::load(from + 4, offset), 0, 1, 2, 3, 4,
                                   5, 6, 7);
  }
  static constexpr int at(int word, int quarter) { return word + word / 4 * 4 + quarter * 4; }
  template <int a, int b, int c, int d>
  TW_INLINE static V mix(V x, V y) {
    return __builtin_shufflevector(x, y, at(a, 0), at(b, 0), at(c, 0), at(d, 0), at(a, 1), at(b, 1),
                                   at(c, 1), at(d, 1));
  }
};
#endif

/// The first `groups` groups of 32 elements of a panel of K as 32 columns of B.
TW_FN void pack_keys(char* to, const PanelOfKeys& panel, size_t groups) {
  constexpr size_t kQuarters = kLanes < 8 ? 1 : 2, kKeys = 4 * kQuarters;  // at a time
  constexpr size_t kLine = kPanelTileCols * 4;                             // two k of 16 columns
  using Q = Quarters<kQuarters>;
  for (size_t g = 0; g < groups; ++g, to += 32 * kLine)
    for (size_t j = 0; j < kPanelCols; j += kKeys) {
      char* at = to + j / kPanelTileCols * 16 * kLine + j % kPanelTileCols * 4;
      for (size_t w = 0; w < 16; w += 4, at += 4 * kLine) {
        Q::V in[4];
        for (size_t i = 0; i < 4; ++i) in[i] = Q::load(panel.key + j + i, (g * 16 + w) * 4);
        const Q::V a = Q::mix<0, 4, 1, 5>(in[0], in[1]), b = Q::mix<0, 4, 1, 5>(in[2], in[3]);
        const Q::V c = Q::mix<2, 6, 3, 7>(in[0], in[1]), d = Q::mix<2, 6, 3, 7>(in[2], in[3]);
        store_vector(at, Q::mix<0, 1, 4, 5>(a, b));
        store_vector(at + kLine, Q::mix<2, 3, 6, 7>(a, b));
        store_vector(at + 2 * kLine, Q::mix<0, 1, 4, 5>(c, d));
        store_vector(at + 3 * kLine, Q::mix<2, 3, 6, 7>(c, d));
      }
    }
}

/// The same of V as 32 rows of B, whose panels are `panel_bytes` apart: a panel has the even
/// columns, then the odd ones, which takes no shuffles (column_words).
TW_FN void pack_values(char* to, size_t panel_bytes, const PanelOfKeys& panel, size_t groups) {
  constexpr size_t kLine = kPanelTileCols * 4;  // two keys of 16 columns
  for (size_t g = 0; g < groups; ++g, to += panel_bytes)
    for (size_t j = 0; j < kPanelCols; j += 2)
      for (size_t c = 0; c < kLine; c += Target::kVectorBytes) {
        const Words above = load_vector<Words>(panel.key[j] + g * kLine + c);
        const Words below = load_vector<Words>(panel.key[j + 1] + g * kLine + c);
        store_vector(to + j / 2 * kLine + c, (above & 0xffffu) | (below << 16));
        store_vector(to + (16 + j / 2) * kLine + c, (above >> 16) | (below & 0xffff0000u));
      }
}
/// Columns 2 i and 2 i + 1, for kLanes numbers from `i`, of a panel of results, times `by`, as
/// bf16.
TW_INLINE Words column_words(const float* panel, size_t i, Floats by) {
  const Floats even = load_vector<Floats>(panel + i) * by;
  const Floats odd = load_vector<Floats>(panel + kPanelTileCols + i) * by;
  return Bf16::narrow<Floats, Words>(even) | (Bf16::narrow_high<Floats, Words>(odd) & 0xffff0000u);
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

/// One split of an item at work. `Multiply`: the target's product of bf16.
template <class Multiply>
class SplitWork {
 public:
  TW_FN SplitWork(CpuAttention& sum, const AttentionKeys& keys, uint32_t split, Multiply multiply)
      : sum_(sum),
        keys_(keys),
        here_{split * kAttentionSplit, (split + 1) * kAttentionSplit},
        seen_(cut(seen_keys(sum.tile.positions, sum.tile.slots, sum.tile.rows, sum.tile.window))),
        range_{seen_.begin / kPanel * kPanel, (seen_.end + kPanel - 1) / kPanel * kPanel},
        panels_((range_.end - range_.begin) / kPanel),
        multiply_(multiply) {}

  TW_FN void run() {
    const size_t lines = sum_.tile.lines();
    if (seen_.empty()) {
      for (size_t i = 0; i < lines; ++i) sum_.split.weight[i] = 0;
      return;
    }
    pack_queries(sum_);
    if (lines <= kFewLines) return few(lines);
    pack_k(0, panels_);
    pack_v(0, panels_);
    for (size_t i = 0; i < lines; i += kLinesAtOnce) {
      const size_t n = lines - i < kLinesAtOnce ? lines - i : kLinesAtOnce;
      score(i, n, 0, panels_);
      weigh(i, n);
      add(i, n, 0, panels_);
    }
  }

 private:
  static constexpr uint32_t kPanel = kPanelCols;
  using S = AttentionScratch;

  TW_FN KeyRange cut(const KeyRange& r) const {
    return {r.begin > here_.begin ? r.begin : here_.begin, r.end < here_.end ? r.end : here_.end};
  }
  TW_FN uint32_t key_of(size_t panel) const {
    return range_.begin + static_cast<uint32_t>(panel * kPanelCols);
  }

  /// Parts that stay in the L1 cache.
  TW_FN void few(size_t lines) {
    const size_t fit = kMostHeadSize / sum_.tile.head_size;
    each_part(fit, [&](size_t p, size_t n) {
      pack_k(p, n);
      score(0, lines, p, n);
    });
    weigh(0, lines);
    each_part(fit, [&](size_t p, size_t n) {
      pack_v(p, n);
      add(0, lines, p, n);
    });
  }
  template <class F>
  TW_FN void each_part(size_t step, F f) {
    for (size_t p = 0; p < panels_; p += step) f(p, panels_ - p < step ? panels_ - p : step);
  }

  /// Panels first .. first + n - 1 of K, or V, to the beginning of its packed memory.
  TW_FN void pack_k(size_t first, size_t n) {
    const size_t bytes = panel_bytes(sum_.tile.head_size, TW_BF16);
    each_panel(keys_.k, first, n, [&](size_t p, size_t g, const PanelOfKeys& from, size_t groups) {
      pack_keys(sum_.scratch + S::kKeys + p * bytes + g * kGroup * sizeof(uint16_t), from, groups);
    });
  }
  TW_FN void pack_v(size_t first, size_t n) {
    const size_t bytes = panel_bytes(n * kPanelCols, TW_BF16);
    each_panel(keys_.v, first, n, [&](size_t p, size_t g, const PanelOfKeys& from, size_t groups) {
      pack_values(sum_.scratch + S::kValues + g * bytes + p * kGroup * sizeof(uint16_t), bytes,
                  from, groups);
    });
  }
  /// f(p, g, where, groups) for the whole groups of each panel, and for the half one.
  template <class F>
  TW_FN void each_panel(const char* base, size_t first, size_t n, F f) {
    if (first == 0) found_ = 0;
    const size_t size = sum_.tile.head_size, whole = size / kPackedK;
    for (size_t p = first; p < first + n; ++p) {
      for (; found_ < panels_ && found_ <= p + kAhead; ++found_)
        find_panel(&ring_[found_ % (kAhead + 1)], base, keys_, key_of(found_), seen_);
      const PanelOfKeys& panel = ring_[p % (kAhead + 1)];
      if (whole != 0) f(p - first, 0, panel, whole);
      if (size % kPackedK == 0) continue;
      last_.fill(panel, size);
      f(p - first, whole, last_.at, 1);
    }
  }

  /// Scores of lines i .. i + n - 1 with the packed panels of K.
  TW_FN void score(size_t i, size_t n, size_t first, size_t panels) {
    MmaStep s{};
    s.a = sum_.queries() + i * kCpuTile.k;
    s.a_stride = kCpuTile.k;
    s.rows = n;
    s.ks = sum_.tile.head_size;
    s.b = sum_.scratch + S::kKeys;
    s.panel_bytes = panel_bytes(s.ks, TW_BF16);
    s.panels = panels;
    s.sums = sum_.scores() + first * S::kScoreRows * kPanelCols;
    s.panel_rows = S::kScoreRows;
    s.first = true;
    multiply_(s);
  }
  TW_FN void weigh(size_t i, size_t n) {
    const AttentionTile& tile = sum_.tile;
    for (size_t at = 0; at < n; ++at) {
      const size_t r = (i + at) / tile.heads;
      weigh_line(sum_, i + at, at, range_,
                 cut(seen_keys(tile.positions[r], tile.slots[r], tile.window)));
    }
  }
  /// The lines' weights times the packed panels of V.
  TW_FN void add(size_t i, size_t n, size_t first, size_t panels) {
    MmaStep s{};
    s.a = sum_.weights() + first * kPanelCols;
    s.a_stride = kCpuTile.k;
    s.rows = n;
    s.ks = panels * kPanelCols;
    s.b = sum_.scratch + S::kValues;
    s.panel_bytes = panel_bytes(s.ks, TW_BF16);
    s.panels = sum_.panels();
    s.sums = sum_.split.row(0, i);
    s.panel_rows = S::kResultRows;
    s.first = first == 0;
    multiply_(s);
  }

  static constexpr size_t kAhead = 2;  // panels
  CpuAttention& sum_;
  const AttentionKeys& keys_;
  const KeyRange here_, seen_, range_;
  const size_t panels_;
  Multiply multiply_;
  PanelOfKeys ring_[kAhead + 1];
  size_t found_ = 0;
  LastGroups last_;
};

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

TW_FN void store_attention(const TilePlace& to, const CpuAttention& sum) {
  if (to.data == nullptr) return;
  const AttentionTile& tile = sum.tile;
  const size_t words = tile.head_size / 2;  // of a line
  for (size_t i = 0; i < tile.lines(); ++i) {
    const size_t col = i % tile.heads * tile.head_size;
    char* const at = to.data + (i / tile.heads * to.stride + col) * sizeof(uint16_t);
    if (sum.empty || sum.total.weight[i] == 0) {
      __builtin_memset(at, 0, words * sizeof(uint32_t));
      continue;
    }
    const Floats by = splat<Floats>(1.0f / sum.total.weight[i]);
    for_lanes(words, [&](size_t w, size_t lanes) {
      const float* const panel = sum.total.row(w / kPanelTileCols, i);
      store_some<TW_FP32>(at + w * sizeof(uint32_t),
                          bits_as<Floats>(column_words(panel, w % kPanelTileCols, by)), lanes);
    });
  }
}

TW_FN void put_lines(float* to, const CpuAttention& sum) {
  for (size_t i = 0; i < sum.tile.lines(); ++i) {
    to[0] = sum.split.most[i];
    to[1] = sum.split.weight[i];
    to += AttentionLimits::kPartialHead;
    for (size_t p = 0; p < sum.panels(); ++p, to += kPanelCols)
      __builtin_memcpy(to, sum.split.row(p, i), kPanelCols * sizeof(float));
  }
}
TW_FN void take_lines(CpuAttention& sum, const float* from) {
  for (size_t i = 0; i < sum.tile.lines(); ++i) {
    sum.split.most[i] = from[0];
    sum.split.weight[i] = from[1];
    from += AttentionLimits::kPartialHead;
    for (size_t p = 0; p < sum.panels(); ++p, from += kPanelCols)
      __builtin_memcpy(sum.split.row(p, i), from, kPanelCols * sizeof(float));
  }
}

}  // namespace TW_NS
