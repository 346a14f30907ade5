#include "lib/model/share.h"

#include <algorithm>

#include "lib/base/parts.h"
#include "tilewire/tile/packed.h"

namespace tw {
namespace {

/// `size` elements in units of a panel where each rank gets one or more, else in single ones.
std::vector<size_t> parts_of(size_t size, int ranks) {
  const size_t unit = size >= kPanelCols * static_cast<size_t>(ranks) ? kPanelCols : 1;
  std::vector<size_t> begin = nearly_equal_parts(divide_up(size, unit), ranks);
  for (size_t& b : begin) b = std::min(size, b * unit);
  return begin;
}

}  // namespace

ModelShare::ModelShare(const ModelDesc& desc, int ranks)
    : ffn(parts_of(static_cast<size_t>(desc.ffn), ranks)),
      vocab(parts_of(static_cast<size_t>(desc.vocab), ranks)),
      embedding(parts_of(static_cast<size_t>(desc.hidden), ranks)) {
  const auto group = static_cast<size_t>(desc.heads / desc.kv_heads);
  const size_t unit = desc.kv_heads >= ranks ? group : 1;
  const auto begin = nearly_equal_parts(static_cast<size_t>(desc.heads) / unit, ranks);
  for (size_t r = 0; r < static_cast<size_t>(ranks); ++r) {
    const size_t first = begin[r] * unit, end = begin[r + 1] * unit;
    HeadShare share{};
    share.first_query = static_cast<uint32_t>(first);
    share.queries = static_cast<uint32_t>(end - first);
    share.group = static_cast<uint32_t>(group);
    share.head_size = static_cast<uint32_t>(desc.head_size);
    if (first < end) {
      share.first_kv = static_cast<uint32_t>(first / group);
      share.kvs = static_cast<uint32_t>((end - 1) / group - first / group + 1);
    }
    heads.push_back(share);
  }
}

size_t ModelShare::qkv_size(int rank) const {
  const HeadShare& h = heads[static_cast<size_t>(rank)];
  return (h.queries + size_t{2} * h.kvs) * h.head_size;
}

size_t ModelShare::q_size(int rank) const {
  const HeadShare& h = heads[static_cast<size_t>(rank)];
  return size_t{h.queries} * h.head_size;
}

}  // namespace tw
