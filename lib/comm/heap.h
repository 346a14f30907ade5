// One rank's symmetric memory: a memfd that grows in segments, mapped by every rank of the comm.
//
// The owner makes it and grows the file; peers map further segments of the same file, so that a
// window costs no file descriptor. Ranks of one process share one Heap object, hence one mapping.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/range_allocator.h"
#include "lib/device/shared_memory.h"

namespace tw {

class Heap {
 public:
  /// A new heap of this process with no segments. Its id is unique on this machine.
  static std::shared_ptr<Heap> create();

  /// The heap that another rank of this process made; null when `id` is of another process.
  static std::shared_ptr<Heap> find(uint64_t id);

  /// A heap of another process, received as a file.
  static std::shared_ptr<Heap> adopt(uint64_t id, Fd file);

  Heap(uint64_t id, Fd file, bool own) : id_(id), file_(std::move(file)), own_(own) {}
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;
  ~Heap();

  uint64_t id() const { return id_; }
  const Fd& file() const { return file_; }

  /// Owner: grows the file for segment `index` (they come one after the other) of `bytes` and maps
  /// it. Others: maps it, after the owner has. Does nothing when it is mapped already.
  void grow(int index, size_t bytes);

  /// Undoes `grow` of the last segment, when some rank could not grow.
  void shrink(int index);

  /// Start and size of segment `index`.
  char* segment(int index) const;
  size_t segment_bytes(int index) const;

  /// Owner: makes a part of a segment read as zero again; whole pages go back to the system.
  void clear(int index, size_t offset, size_t bytes);

 private:
  struct Segment {
    size_t offset;  // in the file
    Mapping mapping;
  };

  const uint64_t id_;
  const Fd file_;
  const bool own_;
  mutable std::mutex mutex_;  // ranks of one process grow one heap at the same time
  std::vector<Segment> segments_;
  size_t bytes_ = 0;
};

}  // namespace tw
