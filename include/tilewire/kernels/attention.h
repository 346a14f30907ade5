// Paged attention: argument structs of its ops (kernels/attention), the list of work that a step's
// plan makes, and how much memory that takes. Shared by host and kernels.
//
// A line is one query head of one row. Keys are attended in splits of kAttentionSplit, at absolute
// positions: of a split, a line has the largest score, the sum of the weights and the weighted sum
// of the values; splits are folded in order. So a line's bits depend on nothing but its own query,
// its position and the keys and values that it sees: not on what else is in the step, nor on how
// the work is cut and who does it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tilewire/kernels/llama.h"
#include "tilewire/tile/grid.h"
#include "tilewire/tile/matrix.h"

namespace tw {

inline constexpr uint32_t kAttentionSplit = 512;  // keys
inline constexpr uint32_t kAttentionLines = 128;  // most of an item
inline constexpr uint32_t kMostHeadSize = 256;    // a multiple of 16
inline constexpr uint32_t kGpuMostHeadSize = 128;

/// Keys begin .. end - 1 of a sequence.
struct KeyRange {
  uint32_t begin, end;
  constexpr bool empty() const { return begin >= end; }
};
/// What a row sees. Rows without a slot are padding, which sees nothing.
[[gnu::always_inline]] constexpr KeyRange seen_keys(int32_t position, int64_t slot,
                                                    uint32_t window) {
  if (slot < 0) return {0, 0};
  const uint32_t end = static_cast<uint32_t>(position) + 1;
  return {window != 0 && end > window ? end - window : 0, end};
}
/// From the first to the last key that any of the rows sees.
[[gnu::always_inline]] constexpr KeyRange seen_keys(const int32_t* positions, const int64_t* slots,
                                                    uint32_t rows, uint32_t window) {
  KeyRange all{UINT32_MAX, 0};
  for (uint32_t i = 0; i < rows; ++i) {
    const KeyRange keys = seen_keys(positions[i], slots[i], window);
    if (keys.empty()) continue;
    all = {keys.begin < all.begin ? keys.begin : all.begin,
           keys.end > all.end ? keys.end : all.end};
  }
  return all;
}

/// Query heads of a rank that read one of its K and V heads, numbered as the rank's own.
struct HeadRange {
  uint32_t first, count;
};
[[gnu::always_inline]] constexpr HeadRange queries_of(const HeadShare& share, uint32_t kv) {
  const uint32_t head = share.first_kv + kv, end = share.first_query + share.queries;
  const uint32_t from =
      head * share.group > share.first_query ? head * share.group : share.first_query;
  const uint32_t to = (head + 1) * share.group < end ? (head + 1) * share.group : end;
  return {from - share.first_query, from < to ? to - from : 0};
}

/// Query rows of one or more heads, as the block's ops see them (tile/tile_block.h).
struct AttentionTile {
  TilePlace q;  // the first row's first head: bf16, heads one after the other
  uint32_t rows, heads, head_size;
  const int32_t* positions;  // [rows]
  const int64_t* slots;      // [rows]
  uint32_t window;           // a row sees so many keys up to its own; 0: all
  float scale;               // of scores; positive
  constexpr uint32_t lines() const { return rows * heads; }
};
/// K and V of one head of one sequence.
struct AttentionKeys {
  const char* k;
  const char* v;
  const KvLayout* layout;
  uint32_t head;
  const uint32_t* pages;  // of the sequence
};

/// A piece of a step's work: splits of rows x heads lines. Without `partial` it has all that the
/// rows see, and gives their results.
struct AttentionItem {
  static constexpr uint32_t kWhole = UINT32_MAX;
  uint32_t sequence;
  uint32_t first_row, rows;
  uint32_t kv, first_head, heads;  // the rank's own numbers
  uint32_t first_split, splits;
  uint32_t partial;  // the place of the first split's first line in `partials`, or kWhole

  constexpr uint32_t lines() const { return rows * heads; }
  constexpr uint32_t partial_of(uint32_t split) const {
    return partial + (split - first_split) * lines();
  }
};

/// Why a plan is empty: pages[page] of the sequence is not a page; or `page` is how many pages it
/// has, and a row stands beyond them; or kRows: its rows are not rows of the step, or they or its
/// pages end before they begin.
/// Sequence kStep: the step has more rows or sequences than the plan has room for.
struct AttentionError {
  static constexpr uint32_t kNone = UINT32_MAX, kStep = UINT32_MAX - 1, kRows = UINT32_MAX;
  uint32_t sequence, page;
};

/// The most that a step may have, and who works.
struct AttentionLimits {
  uint32_t rows, sequences;
  uint32_t context;               // keys of a sequence
  uint32_t instructions, merges;  // AttendOp's and MergeOp's in a layer

  static constexpr uint32_t up(uint32_t a, uint32_t b) { return (a + b - 1) / b; }
  /// Items of one K and V head that share its query heads, and rows of an item.
  static constexpr uint32_t head_parts(uint32_t heads) { return up(heads, kAttentionLines); }
  static constexpr uint32_t item_rows(uint32_t heads) {
    return heads >= kAttentionLines ? 1 : kAttentionLines / heads;
  }
  /// Items beyond those that would be if none were cut into splits; items that are cut.
  constexpr uint32_t more_items() const { return instructions < 2 ? 0 : 4 * instructions; }
  [[gnu::always_inline]] constexpr uint32_t most_items(const HeadShare& share) const {
    uint32_t items = more_items();
    const uint32_t runs = (sequences < rows ? sequences : rows) + 2;
    for (uint32_t kv = 0; kv < share.kvs; ++kv) {
      const uint32_t heads = queries_of(share, kv).count;
      if (heads != 0) items += head_parts(heads) * (up(rows, item_rows(heads)) + runs);
    }
    return items;
  }
  /// Lines of partial results: of so many decoded sequences as occupy the instructions, or of one
  /// item's rows for each K and V head. What finds no room is not cut.
  [[gnu::always_inline]] constexpr size_t partial_lines(const HeadShare& share) const {
    if (more_items() == 0 || share.queries == 0) return 0;
    const size_t splits = up(context, kAttentionSplit), kvs = share.kvs;
    const size_t occupy = divide_up(2 * instructions, kvs);
    const size_t decoded = share.queries * (sequences < occupy ? sequences : occupy);
    const size_t all = size_t{rows} * share.queries, item = kAttentionLines * kvs;
    const size_t prefill = all < item ? all : item;
    return splits * (decoded > prefill ? decoded : prefill);
  }
  /// Floats of a line of partial results: largest score and sum of weights, then, from the 16th on,
  /// the weighted sum, in an order that is the target's.
  static constexpr size_t kPartialHead = 16;
  static constexpr size_t partial_floats(const HeadShare& share) {
    return kPartialHead + divide_up(share.head_size, 32) * 32;
  }
  constexpr size_t partial_bytes(const HeadShare& share) const {
    return partial_lines(share) * partial_floats(share) * sizeof(float);
  }
};

/// What the plan's memory begins with; then items, then merges.
struct AttentionPlan {
  uint32_t items, merges;
  AttentionError error;

  static constexpr size_t bytes(const AttentionLimits& limits, const HeadShare& share) {
    const size_t items = size_t{limits.most_items(share)} + limits.more_items();
    return (sizeof(AttentionPlan) + items * sizeof(AttentionItem) + 63) / 64 * 64;
  }
  // Templates, which may be constexpr, as what kernels call must be.
  template <class Item = AttentionItem>
  constexpr Item* item_list() {
    return static_cast<Item*>(static_cast<void*>(this + 1));
  }
  template <class Item = AttentionItem>
  constexpr const Item* item_list() const {
    return static_cast<const Item*>(static_cast<const void*>(this + 1));
  }
  /// Entries that MergeOp combines: each a cut item as it would be whole, but for its `partial`.
  template <class Item = AttentionItem>
  constexpr Item* merge_list(uint32_t most_items) {
    return item_list() + most_items;
  }
  template <class Item = AttentionItem>
  constexpr const Item* merge_list(uint32_t most_items) const {
    return item_list() + most_items;
  }
};

/// Makes the plan of a step, for all layers. One instruction a device, before the others. at = {}.
struct AttentionPlanning {
  const StepView* step;
  HeadShare heads;
  KvLayout kv;
  uint32_t window;
  AttentionLimits limits;
  AttentionPlan* plan;
};

/// o = softmax(scale q k^T) v, one layer's. AttendOp and MergeOp; at = {number of the instruction}.
struct Attention {
  AttentionPlanning of;
  uint32_t layer;
  float scale;
  Matrix q;       // rows x queries heads, bf16: the first columns of LlamaPlace::qkv
  Matrix o;       // rows x (queries * head_size), bf16
  const char* k;  // of this layer
  const char* v;
  float* partials;  // of all layers: AttentionLimits::partial_bytes, aligned to 64
};
static_assert(std::is_trivially_copyable_v<Attention>);

}  // namespace tw
