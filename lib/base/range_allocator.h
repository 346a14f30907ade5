// Places for allocations in segments of memory.
#pragma once

#include <cstddef>
#include <vector>

namespace tw {

/// Keeps the books of some segments of memory, which it never touches. Deterministic: equal
/// requests in equal order give equal places, so that all ranks of a comm place a window alike.
class RangeAllocator {
 public:
  struct Place {
    int segment;
    size_t offset;
    size_t bytes;  // rounded up
  };

  /// Bytes that `bytes` take: small ones share pages, large ones are huge-page aligned.
  static size_t rounded(size_t bytes);

  /// A free place, or segment -1 when a new segment is needed.
  Place allocate(size_t bytes);
  void release(const Place& place);

  /// Bytes of the segment to add for a request of `bytes` that found no place.
  size_t next_segment_bytes(size_t bytes) const;
  int segments() const { return segments_; }

  /// Adds a segment whose first `used` bytes are taken.
  void add_segment(size_t bytes, size_t used = 0);

 private:
  struct Range {
    int segment;
    size_t offset;
    size_t bytes;
  };
  std::vector<Range> free_;  // by (segment, offset)
  int segments_ = 0;
  size_t total_ = 0;
};

}  // namespace tw
