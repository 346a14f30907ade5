#include "lib/vgpu/race/knowledge.h"

#include <algorithm>
#include <iterator>

namespace tw::vgpu {
namespace {

/// Whether `a` has all that `b` has.
bool covers(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b) {
  const size_t both = std::min(a.size(), b.size());
  uint32_t more = 0;
  for (size_t i = 0; i < both; ++i) more |= static_cast<uint32_t>(b[i] > a[i]);
  for (size_t i = both; i < b.size(); ++i) more |= b[i];
  return more == 0;
}

Clocks joined_clocks(const Clocks& a, const Clocks& b) {
  if (a == b || covers(*a, *b)) return a;
  if (covers(*b, *a)) return b;
  const std::vector<uint32_t>& longer = a->size() >= b->size() ? *a : *b;
  const std::vector<uint32_t>& shorter = a->size() >= b->size() ? *b : *a;
  auto result = std::make_shared<std::vector<uint32_t>>(longer);
  for (size_t i = 0; i < shorter.size(); ++i) (*result)[i] = std::max((*result)[i], shorter[i]);
  return result;
}

bool before(const Knowledge::Entry& entry, uint64_t block) { return entry.block < block; }

bool covers(const Knowledge& a, const Knowledge& b) {
  if (b.floor > a.floor || b.blocks.size() > a.blocks.size() ||
      !std::includes(a.launches.begin(), a.launches.end(), b.launches.begin(), b.launches.end()))
    return false;
  auto own = a.blocks.begin();
  for (const Knowledge::Entry& entry : b.blocks) {
    own = std::lower_bound(own, a.blocks.end(), entry.block, before);
    if (own == a.blocks.end() || own->block != entry.block) return false;
    if (own->clocks != entry.clocks && !covers(*own->clocks, *entry.clocks)) return false;
  }
  return true;
}

}  // namespace

bool Knowledge::has_launch(uint64_t launch) const {
  return launch <= floor || std::binary_search(launches.begin(), launches.end(), launch);
}

uint32_t Knowledge::clock(uint64_t block, uint32_t thread) const {
  const auto at = std::lower_bound(blocks.begin(), blocks.end(), block, before);
  if (at == blocks.end() || at->block != block || thread >= at->clocks->size()) return 0;
  return (*at->clocks)[thread];
}

Known joined(const Known& a, const Known& b) {
  if (a == b || !b) return a;
  if (!a || covers(*b, *a)) return b;
  if (covers(*a, *b)) return a;
  auto result = std::make_shared<Knowledge>();
  result->floor = std::max(a->floor, b->floor);
  std::set_union(a->launches.begin(), a->launches.end(), b->launches.begin(), b->launches.end(),
                 std::back_inserter(result->launches));
  auto left = a->blocks.begin(), right = b->blocks.begin();
  while (left != a->blocks.end() || right != b->blocks.end()) {
    if (right == b->blocks.end() || (left != a->blocks.end() && left->block < right->block)) {
      result->blocks.push_back(*left++);
    } else if (left == a->blocks.end() || right->block < left->block) {
      result->blocks.push_back(*right++);
    } else {
      result->blocks.push_back({left->block, joined_clocks(left->clocks, right->clocks)});
      ++left;
      ++right;
    }
  }
  return result;
}

Known with_block(const Known& known, uint64_t block, const Clocks& clocks) {
  auto result = known ? std::make_shared<Knowledge>(*known) : std::make_shared<Knowledge>();
  const auto at = std::lower_bound(result->blocks.begin(), result->blocks.end(), block, before);
  if (at != result->blocks.end() && at->block == block)
    at->clocks = joined_clocks(at->clocks, clocks);
  else
    result->blocks.insert(at, {block, clocks});
  return result;
}

}  // namespace tw::vgpu
