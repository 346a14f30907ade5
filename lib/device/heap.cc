#include "lib/device/heap.h"

#include <mutex>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/random.h"
#include "lib/base/round.h"
#include "lib/device/heap_registry.h"
#include "lib/device/shared_memory.h"

namespace tw {
namespace {

/// A memfd: the owner grows the file, peers map further segments of the same file, so that a window
/// costs no file descriptor.
class HostHeap : public Heap {
 public:
  HostHeap(uint64_t id, Fd file, bool own) : id_(id), file_(std::move(file)), own_(own) {}
  HostHeap(const HostHeap&) = delete;
  HostHeap& operator=(const HostHeap&) = delete;
  ~HostHeap() override {
    if (own_) HeapRegistry<HostHeap>::get().remove(id_);
  }

  uint64_t id() const override { return id_; }

  void grow(int index, size_t bytes) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (static_cast<size_t>(index) < segments_.size()) return;
    if (static_cast<size_t>(index) > segments_.size())
      fail(TW_ERROR_INTERNAL, "heap segment %d grown before segment %zu", index, segments_.size());
    bytes = round_up(bytes, kHugePage);
    if (own_) grow_memfd(file_, bytes_ + bytes);
    segments_.push_back({bytes_, Mapping(file_, bytes_, bytes)});
    bytes_ += bytes;
  }

  void shrink(int index) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (segments_.size() != static_cast<size_t>(index) + 1) return;
    bytes_ -= segments_.back().mapping.bytes();
    segments_.pop_back();
  }

  bool passes_file(int index) const override { return index == 0; }
  const Fd& file(int /*index*/) const override { return file_; }
  void receive(int /*index*/, Fd file) override { file_ = std::move(file); }

  char* segment(int index) const override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return segments_.at(static_cast<size_t>(index)).mapping.data();
  }
  size_t segment_bytes(int index) const override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return segments_.at(static_cast<size_t>(index)).mapping.bytes();
  }

  void clear(int index, size_t offset, size_t bytes) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const Segment& segment = segments_.at(static_cast<size_t>(index));
    zero_again(file_, segment.offset, offset, segment.mapping.data() + offset, bytes);
  }

  void touch(int index, size_t offset, size_t bytes) override {
    tw::touch(segment(index) + offset, bytes);
  }

 private:
  struct Segment {
    size_t offset;  // in the file
    Mapping mapping;
  };

  const uint64_t id_;
  Fd file_;
  const bool own_;
  mutable std::mutex mutex_;  // ranks of one process grow one heap at the same time
  std::vector<Segment> segments_;
  size_t bytes_ = 0;
};

class HostHeaps : public Heaps {
 public:
  std::shared_ptr<Heap> create() override {
    const auto id = random_value<uint64_t>();
    auto heap = std::make_shared<HostHeap>(id, create_memfd("tilewire"), true);
    HeapRegistry<HostHeap>::get().add(id, heap);
    return heap;
  }

  std::shared_ptr<Heap> find(uint64_t id) override {
    return HeapRegistry<HostHeap>::get().find(id);
  }

  std::shared_ptr<Heap> adopt(uint64_t id) override {
    return std::make_shared<HostHeap>(id, Fd(), false);
  }
};

}  // namespace

Heaps& host_heaps() {
  static HostHeaps heaps;
  return heaps;
}

}  // namespace tw
