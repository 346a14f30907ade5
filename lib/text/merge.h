// The step that both kinds of tokenizer share: neighbours are joined, the best pair first.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

namespace tw {

/// A part of a text that is (or may become) a token, linked with its neighbours.
struct MergeSymbol {
  uint32_t begin;
  uint32_t size;  // 0: joined to its left neighbour
  int32_t id;     // what it is, in the model's own numbers
  int32_t prev;   // -1: none
  int32_t next;
};

/// What two neighbours become. The lowest key is joined first, the leftmost of equals.
template <class Key>
struct Merged {
  Key key;
  int32_t id;
};

template <class Key>
struct MergeCandidate {
  Key key;
  int32_t left;
  int32_t right;
  uint32_t size;  // of both, to see whether one has grown since
  int32_t id;

  /// For a heap with the best on top.
  bool operator<(const MergeCandidate& other) const {
    return key != other.key ? key > other.key : left > other.left;
  }
};

/// Joins neighbours until none can be. `find(left, right)` gives std::optional<Merged<Key>>.
/// Takes time n log n; `heap` is scratch memory.
template <class Key, class Find>
void merge_symbols(std::vector<MergeSymbol>& symbols, std::vector<MergeCandidate<Key>>& heap,
                   const Find& find) {
  heap.clear();
  const auto candidate = [&](int32_t left, int32_t right) -> bool {
    if (left < 0 || right < 0) return false;
    const MergeSymbol& a = symbols[left];
    const MergeSymbol& b = symbols[right];
    const std::optional<Merged<Key>> joined = find(a, b);
    if (joined) heap.push_back({joined->key, left, right, a.size + b.size, joined->id});
    return joined.has_value();
  };
  for (size_t i = 1; i < symbols.size(); ++i)
    candidate(static_cast<int32_t>(i) - 1, static_cast<int32_t>(i));
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    const MergeCandidate<Key> best = heap.front();
    std::pop_heap(heap.begin(), heap.end());
    heap.pop_back();
    MergeSymbol& left = symbols[best.left];
    MergeSymbol& right = symbols[best.right];
    if (left.size == 0 || right.size == 0 || left.size + right.size != best.size) continue;
    left.size = best.size;
    left.id = best.id;
    left.next = right.next;
    right.size = 0;
    if (left.next >= 0) symbols[left.next].prev = best.left;
    if (candidate(left.prev, best.left)) std::push_heap(heap.begin(), heap.end());
    if (candidate(best.left, left.next)) std::push_heap(heap.begin(), heap.end());
  }
}

}  // namespace tw
