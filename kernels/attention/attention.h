// Paged attention in three ops: a plan once a step, then for each layer what the plan lists, and
// the merging of what it had cut. Structs and the rule of bits: tilewire/kernels/attention.h.
#pragma once

#include "tilewire/kernels/attention.h"
#include "tilewire/tile/program.h"

namespace TW_NS {

/// Cuts a step's attention into items, of nearly equal work where that pays.
class AttentionPlanner {
 public:
  TW_FN explicit AttentionPlanner(const AttentionPlanning& args)
      : args_(args), step_(*args.step), plan_(*args.plan) {}

  TW_FN void run() {
    plan_ = {0, 0, check()};
    if (plan_.error.sequence != AttentionError::kNone) return;
    uint64_t all = 0;
    each_whole([&](const AttentionItem& item) { all += cost(item); });
    share_ = args_.limits.instructions < 2 ? UINT64_MAX : all / (2 * args_.limits.instructions);
    lines_left_ = args_.limits.partial_lines(args_.heads);
    items_left_ = args_.limits.more_items();
    each_whole([&](const AttentionItem& item) { add(item); });
  }

 private:
  /// A split's cost in lines: K and V have to come, however few lines there are.
  static constexpr uint64_t kSplitCost = 32;
  TW_FN static uint64_t cost_of_split(const AttentionItem& item) {
    return kSplitCost + item.lines();
  }
  TW_FN static uint64_t cost(const AttentionItem& item) {
    return item.splits * cost_of_split(item);
  }

  TW_FN AttentionError check() const {
    if (step_.rows > args_.limits.rows || step_.sequences > args_.limits.sequences)
      return {AttentionError::kStep, 0};
    for (uint32_t s = 0; s < step_.sequences; ++s) {
      const uint32_t begin = step_.query_begin[s], end = step_.query_begin[s + 1];
      if (begin > end || end > step_.rows || step_.page_begin[s] > step_.page_begin[s + 1])
        return {s, AttentionError::kRows};
      const uint32_t* const pages = step_.pages + step_.page_begin[s];
      const uint32_t count = step_.page_begin[s + 1] - step_.page_begin[s];
      for (uint32_t p = 0; p < count; ++p)
        if (pages[p] >= args_.kv.pages) return {s, p};
      const uint64_t room = uint64_t{count} * args_.kv.page_size;
      for (uint32_t i = begin; i < end; ++i)
        if (step_.slots[i] >= 0 && static_cast<uint32_t>(step_.positions[i]) >= room)
          return {s, count};
    }
    return {AttentionError::kNone, 0};
  }

  /// f(item) for the items of a step of which none is cut. Later rows come first: they see more.
  template <class F>
  TW_FN void each_whole(F f) const {
    const uint32_t count = step_.sequences;
    const uint32_t first = count == 0 ? 0 : step_.query_begin[0];
    const uint32_t last = count == 0 ? 0 : step_.query_begin[count];
    for (uint32_t s = 0; s < count; ++s)
      each_of(s, step_.query_begin[s], step_.query_begin[s + 1], f);
    each_of(count, 0, first, f);
    each_of(count, last, step_.rows, f);
  }
  /// Sequence `count`: rows of none, which are padding.
  template <class F>
  TW_FN void each_of(uint32_t sequence, uint32_t begin, uint32_t end, F f) const {
    const HeadShare& share = args_.heads;
    for (uint32_t kv = 0; kv < share.kvs; ++kv) {
      const HeadRange heads = queries_of(share, kv);
      if (heads.count == 0) continue;
      const uint32_t step = AttentionLimits::item_rows(heads.count);
      for (uint32_t left = end - begin; left != 0;) {
        const uint32_t rows = (left - 1) % step + 1;
        left -= rows;
        each_part(whole(sequence, begin + left, rows), kv, heads, f);
      }
    }
  }
  template <class F>
  TW_FN static void each_part(AttentionItem item, uint32_t kv, const HeadRange& heads, F f) {
    item.kv = kv;
    for (uint32_t h = 0; h < heads.count; h += kAttentionLines) {
      item.first_head = heads.first + h;
      item.heads = heads.count - h < kAttentionLines ? heads.count - h : kAttentionLines;
      f(item);
    }
  }
  TW_FN AttentionItem whole(uint32_t sequence, uint32_t first, uint32_t rows) const {
    AttentionItem item{sequence, first, rows, 0, 0, 0, 0, 0, AttentionItem::kWhole};
    if (sequence == step_.sequences) return item;
    const KeyRange keys =
        seen_keys(step_.positions + first, step_.slots + first, rows, args_.window);
    if (keys.empty()) return item;
    item.first_split = keys.begin / kAttentionSplit;
    item.splits = (keys.end - 1) / kAttentionSplit + 1 - item.first_split;
    return item;
  }

  /// Adds an item, in pieces if it is more than its share and there is room for partial results.
  TW_FN void add(AttentionItem item) {
    AttentionItem* const items = plan_.item_list();
    const uint64_t most = share_ / cost_of_split(item);
    const uint32_t step = most == 0            ? 1
                          : most < item.splits ? static_cast<uint32_t>(most)
                                               : item.splits;
    const uint32_t pieces = item.splits == 0 ? 1 : AttentionLimits::up(item.splits, step);
    const uint64_t lines = uint64_t{item.splits} * item.lines();
    if (pieces == 1 || pieces - 1 > items_left_ || lines > lines_left_) {
      items[plan_.items++] = item;
      return;
    }
    items_left_ -= pieces - 1;
    lines_left_ -= lines;
    item.partial = partial_;
    partial_ += static_cast<uint32_t>(lines);
    plan_.merge_list(args_.limits.most_items(args_.heads))[plan_.merges++] = item;
    for (uint32_t s = 0; s < item.splits; s += step) {
      AttentionItem piece = item;
      piece.first_split = item.first_split + s;
      piece.splits = item.splits - s < step ? item.splits - s : step;
      piece.partial = item.partial_of(piece.first_split);
      items[plan_.items++] = piece;
    }
  }

  const AttentionPlanning& args_;
  const StepView& step_;
  AttentionPlan& plan_;
  uint64_t share_ = 0;
  uint64_t lines_left_ = 0;
  uint32_t items_left_ = 0, partial_ = 0;
};

struct PlanAttentionOp {
  using Args = AttentionPlanning;
  static constexpr bool kConsumerOnly = true;
  template <class Block>
  TW_FN static void run(ProgramBlock<Block>& program, const Args& args, const uint32_t* /*at*/) {
    program.come();
    const Block& block = program.tile_block();
    if (block.ok() && block.leads()) AttentionPlanner(args).run();
  }
};

/// What AttendOp and MergeOp share.
struct AttentionLayer {
  const Attention& args;

  TW_FN bool computed() const {
    return args.layer >= args.of.step->first_layer && args.layer < args.of.step->last_layer;
  }
  TW_FN size_t col(const AttentionItem& item) const {
    return size_t{item.first_head} * args.of.heads.head_size;
  }
  TW_FN AttentionTile tile(const AttentionItem& item) const {
    const StepView& step = *args.of.step;
    return {args.q.at(item.first_row, col(item)),
            item.rows,
            item.heads,
            args.of.heads.head_size,
            step.positions + item.first_row,
            step.slots + item.first_row,
            args.of.window,
            args.scale};
  }
  TW_FN AttentionKeys keys(const AttentionItem& item) const {
    const StepView& step = *args.of.step;
    return {args.k, args.v, &args.of.kv, item.kv, step.pages + step.page_begin[item.sequence]};
  }
  TW_FN float* partial(uint32_t line) const {
    return args.partials + line * AttentionLimits::partial_floats(args.of.heads);
  }
  TW_FN TilePlace result(const AttentionItem& item) const {
    return args.o.at(item.first_row, col(item));
  }
};

/// The items of one instruction.
struct AttendOp {
  using Args = Attention;
  static constexpr bool kConsumerOnly = true;
  template <class Block>
  TW_FN static void run(ProgramBlock<Block>& program, const Args& args, const uint32_t* at) {
    Block& block = program.tile_block();
    const AttentionLayer layer{args};
    const AttentionPlan& plan = *args.of.plan;
    program.come();
    if (!block.ok() || !layer.computed()) return;
    for (uint32_t i = at[0]; i < plan.items; i += args.of.limits.instructions) {
      const AttentionItem& item = plan.item_list()[i];
      auto sum = block.attention(layer.tile(item));
      for (uint32_t s = item.first_split; s < item.first_split + item.splits; ++s) {
        block.attend(sum, layer.keys(item), s);
        if (item.partial == AttentionItem::kWhole)
          block.fold(sum);
        else
          block.put_partial(layer.partial(item.partial_of(s)), sum);
      }
      if (item.partial == AttentionItem::kWhole) block.store(layer.result(item), sum);
    }
  }
};

/// Folds what pieces of items have left, as one whole item would have.
struct MergeOp {
  using Args = Attention;
  static constexpr bool kConsumerOnly = true;
  template <class Block>
  TW_FN static void run(ProgramBlock<Block>& program, const Args& args, const uint32_t* at) {
    Block& block = program.tile_block();
    const AttentionLayer layer{args};
    const AttentionPlan& plan = *args.of.plan;
    program.come();
    if (!block.ok() || !layer.computed()) return;
    const AttentionItem* const list = plan.merge_list(args.of.limits.most_items(args.of.heads));
    for (uint32_t i = at[0]; i < plan.merges; i += args.of.limits.merges) {
      const AttentionItem& item = list[i];
      auto sum = block.attention(layer.tile(item));
      for (uint32_t s = item.first_split; s < item.first_split + item.splits; ++s) {
        block.take_partial(sum, layer.partial(item.partial_of(s)));
        block.fold(sum);
      }
      block.store(layer.result(item), sum);
    }
  }
};

}  // namespace TW_NS
