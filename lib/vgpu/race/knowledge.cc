#include "lib/vgpu/race/knowledge.h"

#include <algorithm>
#include <iterator>

namespace tw::vgpu {
namespace {

Clocks joined_clocks(const Clocks& a, const Clocks& b) {
  if (a == b) return a;
  const std::vector<uint32_t>& longer = a->size() >= b->size() ? *a : *b;
  const std::vector<uint32_t>& shorter = a->size() >= b->size() ? *b : *a;
  auto result = std::make_shared<std::vector<uint32_t>>(longer);
  for (size_t i = 0; i < shorter.size(); ++i) (*result)[i] = std::max((*result)[i], shorter[i]);
  return result;
}

bool before(const Knowledge::Entry& entry, uint64_t block) { return entry.block < block; }

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
  if (!a) return b;
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
