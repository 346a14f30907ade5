// How a message is cut: slices of ranks, chunks of a pipeline.
#pragma once

#include "tilewire/kernels/coll.h"
#include "tilewire/tile/call.h"

namespace TW_NS {

/// Slice `r` in elements: `count` each, or by the arrays of an uneven form.
TW_CALLED_FN Range slice_of(const size_t* counts, const size_t* displs, size_t count, int r) {
  if (counts == nullptr) return {r * count, (r + 1) * count};
  size_t begin = 0;
  if (displs != nullptr) {
    begin = displs[r];
  } else {
    for (int i = 0; i < r; ++i) begin += counts[i];
  }
  return {begin, begin + counts[r]};
}

TW_FN Range in_bytes(Range elements, size_t element) {
  return {elements.begin * element, elements.end * element};
}

TW_FN size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
TW_FN size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/// A transfer of `size` (bytes or elements) in steps of `chunk`; an empty one has one step. Both
/// ends make the same from the same size. `wanted` 0: one step. `limit`: the most that a step can
/// hold; then the host has made sure that kMaxSteps suffice (message_limit).
struct Steps {
  size_t chunk;
  size_t count;
  TW_FN Steps(size_t size, size_t wanted, size_t limit) {
    const size_t least = (size + kMaxSteps - 1) / kMaxSteps;
    chunk = wanted == 0 ? larger(size, 1) : larger(wanted, least);
    chunk = smaller(chunk, limit);
    count = size <= chunk ? 1 : (size + chunk - 1) / chunk;
  }
  /// Step `k` of `range`, which has the size given above; empty beyond the last step.
  TW_FN Range of(Range range, size_t k) const {
    const size_t begin = range.begin + k * chunk;
    if (begin >= range.end) return {range.end, range.end};
    return {begin, smaller(begin + chunk, range.end)};
  }
};

}  // namespace TW_NS
