#include "lib/base/range_allocator.h"

#include <algorithm>
#include <cstdint>

#include "lib/base/error.h"
#include "lib/base/round.h"

namespace tw {
namespace {

constexpr size_t kLine = 256;
constexpr size_t kPage = 4096;
constexpr size_t kHuge = size_t{2} << 20;
constexpr size_t kSmall = size_t{64} << 10;  // below, allocations share pages
constexpr size_t kFirstSegment = size_t{16} << 20;

}  // namespace

size_t RangeAllocator::rounded(size_t bytes) {
  if (bytes == 0) bytes = 1;
  if (bytes > SIZE_MAX / 2) fail(TW_ERROR_OUT_OF_MEMORY, "%zu bytes are too many", bytes);
  return bytes < kSmall ? round_up(bytes, kLine) : round_up(bytes, kPage);
}

RangeAllocator::Place RangeAllocator::allocate(size_t bytes) {
  const size_t need = rounded(bytes);
  const size_t align = need < kSmall ? kLine : need < kHuge ? kPage : kHuge;
  for (size_t i = 0; i < free_.size(); ++i) {
    const Range range = free_[i];
    const size_t at = round_up(range.offset, align);
    if (at + need > range.offset + range.bytes) continue;
    const Range before{range.segment, range.offset, at - range.offset};
    const Range after{range.segment, at + need, range.offset + range.bytes - at - need};
    free_.erase(free_.begin() + static_cast<std::ptrdiff_t>(i));
    if (after.bytes > 0) free_.insert(free_.begin() + static_cast<std::ptrdiff_t>(i), after);
    if (before.bytes > 0) free_.insert(free_.begin() + static_cast<std::ptrdiff_t>(i), before);
    return {range.segment, at, need};
  }
  return {-1, 0, need};
}

void RangeAllocator::release(const Place& place) {
  const auto after = std::find_if(free_.begin(), free_.end(), [&](const Range& r) {
    return r.segment > place.segment || (r.segment == place.segment && r.offset > place.offset);
  });
  auto it = free_.insert(after, {place.segment, place.offset, place.bytes});
  const auto touches = [](const Range& a, const Range& b) {
    return a.segment == b.segment && a.offset + a.bytes == b.offset;
  };
  if (it + 1 != free_.end() && touches(*it, *(it + 1))) {
    it->bytes += (it + 1)->bytes;
    free_.erase(it + 1);
  }
  if (it != free_.begin() && touches(*(it - 1), *it)) {
    (it - 1)->bytes += it->bytes;
    free_.erase(it);
  }
}

size_t RangeAllocator::next_segment_bytes(size_t bytes) const {
  return round_up(std::max({rounded(bytes), kFirstSegment, std::min(total_, size_t{1} << 30)}),
                  kHuge);
}

void RangeAllocator::add_segment(size_t bytes, size_t used) {
  if (bytes > used) free_.push_back({segments_, used, bytes - used});
  ++segments_;
  total_ += bytes;
}

}  // namespace tw
