// Places of windows: never overlapping, given back whole, the same on every rank.
#include "lib/base/range_allocator.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace tw {
namespace {

using Place = RangeAllocator::Place;

bool overlap(const Place& a, const Place& b) {
  return a.segment == b.segment && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

/// As a comm does: a new segment when there is no place.
Place place(RangeAllocator& allocator, std::vector<size_t>& segments, size_t bytes) {
  Place p = allocator.allocate(bytes);
  if (p.segment >= 0) return p;
  segments.push_back(allocator.next_segment_bytes(bytes));
  allocator.add_segment(segments.back());
  return allocator.allocate(bytes);
}

TEST(RangeAllocator, PlacesLieInTheirSegmentsAndNeverOverlap) {
  std::mt19937 random(7);
  RangeAllocator allocator;
  std::vector<size_t> segments = {1 << 20};
  constexpr size_t kUsed = 12345;
  allocator.add_segment(segments[0], kUsed);
  std::vector<Place> live;
  for (int step = 0; step < 20000; ++step) {
    if (live.size() < 60 && random() % 5 != 0) {
      const size_t bytes = random() % 4 == 0 ? random() % (8u << 20) : random() % 5000;
      const Place p = place(allocator, segments, bytes);
      ASSERT_GE(p.segment, 0);
      ASSERT_GE(p.bytes, bytes);
      ASSERT_LE(p.offset + p.bytes, segments[static_cast<size_t>(p.segment)]);
      if (p.segment == 0) {
        ASSERT_GE(p.offset, kUsed);
      }
      if (bytes >= 2u << 20) {
        ASSERT_EQ(p.offset % (2u << 20), 0u) << bytes;
      }
      for (const Place& other : live) ASSERT_FALSE(overlap(p, other)) << step;
      live.push_back(p);
    } else if (!live.empty()) {
      const size_t i = random() % live.size();
      allocator.release(live[i]);
      live.erase(live.begin() + static_cast<ptrdiff_t>(i));
    }
  }
  // 60 live places of at most 8 MiB: what is given back is used again.
  size_t total = 0;
  for (const size_t bytes : segments) total += bytes;
  EXPECT_LT(total, size_t{4} << 30);
}

TEST(RangeAllocator, EqualRequestsGiveEqualPlaces) {
  std::mt19937 random(3);
  RangeAllocator a, b;
  std::vector<size_t> a_segments, b_segments;
  std::vector<Place> live;
  for (int step = 0; step < 5000; ++step) {
    if (random() % 2 == 0 || live.empty()) {
      const size_t bytes = random() % (1u << 20);
      const Place p = place(a, a_segments, bytes), q = place(b, b_segments, bytes);
      ASSERT_TRUE(p.segment == q.segment && p.offset == q.offset && p.bytes == q.bytes);
      live.push_back(p);
    } else {
      a.release(live.back());
      b.release(live.back());
      live.pop_back();
    }
  }
  EXPECT_EQ(a_segments, b_segments);
}

TEST(RangeAllocator, WhatIsReleasedJoinsItsNeighbours) {
  RangeAllocator allocator;
  allocator.add_segment(64 << 20);
  std::vector<Place> places;
  for (;;) {
    const Place p = allocator.allocate(1 << 20);
    if (p.segment < 0) break;
    places.push_back(p);
  }
  EXPECT_GE(places.size(), 16u);
  // In an order that leaves holes on both sides.
  for (size_t i = 0; i < places.size(); i += 2) allocator.release(places[i]);
  for (size_t i = 1; i < places.size(); i += 2) allocator.release(places[i]);
  EXPECT_GE(allocator.allocate(60 << 20).segment, 0);
}

}  // namespace
}  // namespace tw
