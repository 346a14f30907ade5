#include "lib/model/share.h"

#include <algorithm>

#include "lib/base/parts.h"
#include "tilewire/tile/packed.h"

namespace tw {
namespace {

/// Panels where each rank can get one or more, else single elements.
size_t unit_of(size_t size, size_t ranks) { return size >= kPanelCols * ranks ? kPanelCols : 1; }

std::vector<size_t> parts_of(size_t size, int ranks) {
  const size_t unit = unit_of(size, static_cast<size_t>(ranks));
  std::vector<size_t> begin = nearly_equal_parts(divide_up(size, unit), ranks);
  for (size_t& b : begin) b = std::min(size, b * unit);
  return begin;
}

}  // namespace

ModelShare::ModelShare(const ModelDesc& desc, int ranks)
    : vocab(parts_of(static_cast<size_t>(desc.vocab), ranks)),
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
  divide_ffn(static_cast<size_t>(desc.ffn));
}

/// Unit by unit to the rank that has the least to do so far. Of a rank's heads half the weights
/// count: with all of them ranks read as many weights, which is all that a few rows' products do; a
/// prompt's are bound by multiplying, and what a rank waits within a layer is lost to it.
void ModelShare::divide_ffn(size_t columns) {
  const size_t ranks = heads.size(), unit = unit_of(columns, ranks);
  std::vector<size_t> sizes(ranks), work(ranks);  // work: in thirds of a column's weights
  for (size_t r = 0; r < ranks; ++r)
    work[r] = (qkv_size(static_cast<int>(r)) + q_size(static_cast<int>(r))) / 2;
  for (size_t left = columns; left != 0;) {
    const auto least =
        static_cast<size_t>(std::min_element(work.begin(), work.end()) - work.begin());
    const size_t taken = std::min(left, unit);
    sizes[least] += taken;
    work[least] += 3 * taken;
    left -= taken;
  }
  ffn.assign(1, 0);
  for (const size_t size : sizes) ffn.push_back(ffn.back() + size);
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
