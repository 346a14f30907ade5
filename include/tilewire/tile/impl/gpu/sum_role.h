// What the role that holds sums does alike on all GPU targets, by its kTileThreads threads: rows,
// and waits that all of them agree on. A target's role adds how it multiplies and stores tiles.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/gpu/rows.h"
#include "tilewire/tile/impl/gpu/tile_role.h"

namespace TW_NS {

/// Elements that a program multiplies. kNone: it does not.
enum class Element { kBf16, kFp16, kFp32, kNone };

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
  /// Once one thread fails all have.
  TW_FN void agree(bool ok) { ok_ = Threads::all(ok_ && ok); }

 private:
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
    return combine_row(row, start, memory_.warps, map, combine, [] { Threads::sync(); });
  }
};

/// Runs `program` by the role that holds sums, made for products of `type` or for none.
template <template <Element> class Holder, bool multiplies, class Program, class Memory>
TW_FN void run_sum_role(tw_type_t type, const Program& program, Memory& memory,
                        const tw_tile_view& view) {
  if constexpr (!multiplies)
    run_role<Holder<Element::kNone>>(program, memory, view);
  else if (type == TW_BF16)
    run_role<Holder<Element::kBf16>>(program, memory, view);
  else if (type == TW_FP16)
    run_role<Holder<Element::kFp16>>(program, memory, view);
  else
    run_role<Holder<Element::kFp32>>(program, memory, view);
}

}  // namespace TW_NS
