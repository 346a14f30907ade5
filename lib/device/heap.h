// One rank's symmetric memory: it grows in segments, which every rank of the comm maps. The seam to
// the memory of a device: a memfd on hosts (heap.cc), allocations of a GPU (gpu/heap.cc).
//
// The owner grows it first; then its peers do, with the owner's size, so that a window is a place
// at the same offset of every heap. Ranks of one process share one mapping.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "lib/base/fd.h"

namespace tw {

class Heap {
 public:
  virtual ~Heap() = default;

  /// Unique on this machine.
  virtual uint64_t id() const = 0;

  /// Adds segment `index` (they come one after the other) of `bytes`, zeroed. Owner: makes it.
  /// Others: map it, after the owner has made it. Does nothing when it is there already.
  virtual void grow(int index, size_t bytes) = 0;

  /// Undoes `grow` of the last segment, when some rank could not grow.
  virtual void shrink(int index) = 0;

  /// True when peers in other processes need a file to map segment `index`: the owner passes
  /// `file`, they `receive` it and grow.
  virtual bool passes_file(int index) const = 0;
  virtual const Fd& file(int index) const = 0;
  virtual void receive(int index, Fd file) = 0;

  /// Start and size of segment `index`, as kernels of this rank's device see it.
  virtual char* segment(int index) const = 0;
  virtual size_t segment_bytes(int index) const = 0;

  /// Owner: makes a part of a segment read as zero again; what can be goes back to the system.
  virtual void clear(int index, size_t offset, size_t bytes) = 0;

  /// Owner: makes a part's pages exist where this rank's device reaches them fastest. Throws
  /// OUT_OF_MEMORY.
  virtual void touch(int index, size_t offset, size_t bytes) = 0;
};

/// Makes and finds heaps of one kind of memory.
class Heaps {
 public:
  virtual ~Heaps() = default;
  /// A new heap of this process with no segments.
  virtual std::shared_ptr<Heap> create() = 0;
  /// The heap that another rank of this process made; null when there is none.
  virtual std::shared_ptr<Heap> find(uint64_t id) = 0;
  /// A heap of another process; it receives a file before it grows for the first time.
  virtual std::shared_ptr<Heap> adopt(uint64_t id) = 0;
};

/// Shared memory of this host. A heap is one memfd, whose descriptor peers get once.
Heaps& host_heaps();

}  // namespace tw
