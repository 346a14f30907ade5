// What the role that holds sums does alike on all GPU targets, by its kTileThreads threads: rows,
// and waits that all of them agree on. A target's role adds how it multiplies and stores tiles.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/gpu/attention.h"
#include "tilewire/tile/impl/gpu/rows.h"
#include "tilewire/tile/impl/gpu/select.h"
#include "tilewire/tile/impl/gpu/tile_role.h"

namespace TW_NS {

/// Elements that a program multiplies. kNone: it does not. kAny: which is told when it is launched.
enum class Element { kBf16, kFp16, kFp32, kNone, kAny };
TW_FN constexpr Element element_of(tw_type_t type) {
  return type == TW_BF16 ? Element::kBf16 : type == TW_FP16 ? Element::kFp16 : Element::kFp32;
}

/// Threads: barriers of all threads of the role, which order their memory: sync(), and all(ok),
/// whether all of them say so. Role: what the target's roles have in common; ops are hidden here.
template <Element element, class Threads, class Role>
class SumRole : public Role {
 protected:
  using Role::control_, Role::memory_, Role::ok_;

 public:
  using Role::Role;
  using Sums = TileSums<element == Element::kFp32 ? Fragment::kFma : Fragment::kMatrix>;

  TW_FN Sums accumulator(const Tile& tile) {
    Sums sum;
    clear(sum);
    sum.tile = tile;
    sum.only = all_rows(tile);
    return sum;
  }
  TW_FN void only_rows(Sums& sum, const RowPart& part) { sum.only = part; }

  // ---- Attention: begun by the target's role, which has the memory ----

  TW_FN void attend(TileAttention& sum, const AttentionKeys& keys, uint32_t split) {
    if (!ok_) return;
    if (can_attend(keys))
      attend_split(sum, keys, split);
    else
      refuse(keys.layout->head_size);
  }
  TW_FN void fold(TileAttention& sum) {
    if (ok_) fold_split(sum);
  }
  TW_FN void put_partial(float* to, const TileAttention& sum) {
    if (ok_) put_lines(to, sum);
  }
  TW_FN void take_partial(TileAttention& sum, const float* from) {
    if (ok_) take_lines(sum, const_cast<float*>(from));
  }
  TW_FN void store(const TilePlace& to, const TileAttention& sum) {
    if (ok_ && to.data != nullptr) store_attention(to, sum);
  }

  // ---- Rows: after a failure there may be nothing to read, and nobody to write to ----

  TW_FN void load(const Row& row, const void* from, tw_type_t type) {
    if (ok_) load_row(row, from, type);
  }
  TW_FN void add(const Row& row, const void* from, tw_type_t type) {
    change(row, from, type, [](float x, float y) { return x + y; });
  }
  /// The memory was written through the ranks' own addresses: `everywhere` is another proxy.
  template <class From>
  TW_FN void load_sum(const Row& row, int n, From from, const void* everywhere, tw_type_t type) {
    if (!ok_) return;
    const bool at_once = is_multicast(everywhere, type);
    if (at_once) ptx::fence_proxy_alias();
    sum_rows(row, n, from, at_once ? everywhere : nullptr, type);
  }
  TW_FN void multiply(const Row& row, const void* by, tw_type_t type) {
    change(row, by, type, [](float x, float y) { return x * y; });
  }
  TW_FN void scale(const Row& row, float by) {
    change(row, nullptr, TW_FP32, [&](float x, float) { return x * by; });
  }
  TW_FN void activate(const Row& row, Activation activation) {
    if (activation == Activation::kNone) return;
    change(row, nullptr, TW_FP32, [&](float x, float) { return activated(x, activation); });
  }
  TW_FN void round(const Row& row, tw_type_t type) {
    change(row, nullptr, TW_FP32, [&](float x, float) { return rounded(x, type); });
  }
  TW_FN float sum(const Row& row) {
    return combine(
        row, 0, [](float x) { return x; }, [](float x, float y) { return x + y; });
  }
  TW_FN float sum_of_squares(const Row& row) {
    return combine(
        row, 0, [](float x) { return x * x; }, [](float x, float y) { return x + y; });
  }
  TW_FN float max(const Row& row) {
    return combine(
        row, -INFINITY, [](float x) { return x; }, [](float x, float y) { return x > y ? x : y; });
  }
  TW_FN void set(const Row& row, size_t i, float value) {
    if (ok_) set_in_row(row, i, value);
  }
  TW_FN void rotate(const Row& row, const float* cosines, const float* sines) {
    if (ok_) rotate_row(row, cosines, sines, [] { Threads::sync(); });
  }
  /// The memory's readers used the ranks' own addresses, and those who are told of it will.
  template <class To>
  TW_FN void store_all(int n, To to, char* everywhere, const Row& row, tw_type_t type) {
    if (!ok_) return;
    const bool at_once = is_multicast(everywhere, type);
    if (at_once) {
      ptx::fence_proxy_alias();
      store_row_everywhere(everywhere, row, type);
      ptx::fence_proxy_alias();
    }
    for (int p = 0; p < n; ++p) {
      char* const place = to(p);
      if (place != nullptr) store_row(place, row, type, /*ends_only=*/at_once);
    }
  }

  // ---- Choosing from rows ----

  TW_FN void allow(const Row& row, const uint32_t* bits, size_t first) {
    if (ok_) allow_row(row, bits, first);
  }
  TW_FN void exponentials(float* to, const Row& row, float from, float by) {
    if (ok_) exponentials_of_row(to, row, from, by);
  }
  TW_FN double sum_of_exponentials(const Row& row, float from) {
    if (!ok_) return 0;
    return sum_of_exponentials_of_row(row, from, memory_.row, [] { Threads::sync(); });
  }
  TW_FN RowAbove above(const Row& row, const float* weights, float limit) {
    if (!ok_) return {0, 0};
    return above_in_row(row, weights, limit, memory_.row, [] { Threads::sync(); });
  }
  TW_FN size_t keep(float* to, float* to_weights, const Row& row, const float* weights, float low,
                    float high) {
    if (!ok_) return 0;
    const Between range{low, high};
    return keep_of_row(to, to_weights, row, weights, range, memory_.row, [] { Threads::sync(); });
  }
  TW_FN size_t find(const Row& row, float value, size_t skip) {
    if (!ok_) return row.n;
    return find_in_row(row, value, skip, memory_.row, [] { Threads::sync(); });
  }
  template <class T>
  TW_FN void put(T* to, T value) {
    if (ok_ && leads()) *in_global(to) = value;
  }

  // ---- For programs ----

  static constexpr bool kConsumes = true;
  static constexpr bool kFetchesAhead = false;
  TW_FN void consume_alone() {}
  TW_FN bool leads() const { return this_thread() == 0; }
  TW_FN void bind_left(const ProgramWait* /*waits*/, uint32_t /*n*/, uint64_t /*value*/) {}
  TW_FN uint64_t clock() const { return ptx::nanoseconds(); }

  // ---- Waits ----

  TW_FN void wait(At at, const Ready& when) {
    wait_all(at, 1, [&](uint32_t) { return when; });
  }
  template <class When>
  TW_FN void wait_all(At /*at*/, uint32_t n, When when) {
    if (ok_) agree(poll_all(control_, n, when));
  }

  template <class Word, class Peer>
  TW_FN void meet(At /*at*/, int n, Word word, uint64_t value, Peer peer) {
    if (!ok_) return;
    const int t = this_thread();
    agree(t >= n || poll_entry(control_, word(t), value, peer(t)));
  }

  TW_FN void report_mismatch(int peer, uint64_t got, uint64_t want) {
    if (this_thread() == 0) give_up(control_, TW_ERROR_MISMATCH, peer, 0, want, got);
    ok_ = false;
  }

 protected:
  /// Lines of `tile`, whose totals lie in `region` of each warp.
  TW_FN TileAttention begin(const AttentionTile& tile, char* region) {
    if (!can_attend(tile)) refuse(tile.head_size);
    return begin_attention(tile, region, ok_);
  }

  /// Once one thread fails all have.
  TW_FN void agree(bool ok) { ok_ = Threads::all(ok_ && ok); }

 private:
  /// Heads, keys or values that attention cannot take: all threads find the same.
  TW_FN void refuse(uint32_t head_size) {
    if (ok_ && leads())
      give_up(control_, TW_ERROR_UNSUPPORTED, kAnyPeer, 0, kGpuMostHeadSize, head_size);
    ok_ = false;
  }

  TW_FN static bool is_multicast(const void* everywhere, tw_type_t type) {
    return Target::kMulticast && everywhere != nullptr && fours_aligned(everywhere, type);
  }

  template <class Op>
  TW_FN void change(const Row& row, const void* from, tw_type_t type, Op op) {
    if (ok_) change_row(row, from, type, op);
  }

  template <class Map, class Combine>
  TW_FN float combine(const Row& row, float start, Map map, Combine combine) {
    if (!ok_) return start;
    return combine_row(row, start, memory_.row.number, map, combine, [] { Threads::sync(); });
  }
};

/// Runs `program` by the role that holds sums, made for products of `element`, which is `type`'s.
template <template <Element> class Holder, Element element, class Program, class Memory>
TW_FN void run_sum_role(tw_type_t type, const Program& program, Memory& memory,
                        const tw_tile_view& view) {
  if constexpr (element != Element::kAny)
    run_role<Holder<element>>(program, memory, view);
  else if (type == TW_BF16)
    run_role<Holder<Element::kBf16>>(program, memory, view);
  else if (type == TW_FP16)
    run_role<Holder<Element::kFp16>>(program, memory, view);
  else
    run_role<Holder<Element::kFp32>>(program, memory, view);
}

}  // namespace TW_NS
