#include "lib/comm/heap.h"

#include <algorithm>
#include <map>

#include "lib/base/error.h"
#include "lib/base/random.h"

namespace tw {
namespace {

size_t up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

struct Registry {
  std::mutex mutex;
  std::map<uint64_t, std::weak_ptr<Heap>> heaps;
};

Registry& registry() {
  static Registry* const instance = new Registry;  // outlives every static destructor
  return *instance;
}

}  // namespace

std::shared_ptr<Heap> Heap::create() {
  const auto id = random_value<uint64_t>();
  auto heap = std::make_shared<Heap>(id, create_memfd("tilewire"), true);
  const std::lock_guard<std::mutex> lock(registry().mutex);
  registry().heaps[id] = heap;
  return heap;
}

std::shared_ptr<Heap> Heap::find(uint64_t id) {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  const auto found = registry().heaps.find(id);
  return found == registry().heaps.end() ? nullptr : found->second.lock();
}

std::shared_ptr<Heap> Heap::adopt(uint64_t id, Fd file) {
  return std::make_shared<Heap>(id, std::move(file), false);
}

Heap::~Heap() {
  if (!own_) return;
  const std::lock_guard<std::mutex> lock(registry().mutex);
  registry().heaps.erase(id_);
}

void Heap::grow(int index, size_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (static_cast<size_t>(index) < segments_.size()) return;
  if (static_cast<size_t>(index) > segments_.size())
    fail(TW_ERROR_INTERNAL, "heap segment %d grown before segment %zu", index, segments_.size());
  bytes = up(bytes, kHugePage);
  if (own_) grow_memfd(file_, bytes_ + bytes);
  segments_.push_back({bytes_, Mapping(file_, bytes_, bytes)});
  bytes_ += bytes;
}

void Heap::shrink(int index) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (segments_.size() != static_cast<size_t>(index) + 1) return;
  bytes_ -= segments_.back().mapping.bytes();
  segments_.pop_back();
}

char* Heap::segment(int index) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return segments_.at(static_cast<size_t>(index)).mapping.data();
}

size_t Heap::segment_bytes(int index) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return segments_.at(static_cast<size_t>(index)).mapping.bytes();
}

void Heap::clear(int index, size_t offset, size_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Segment& segment = segments_.at(static_cast<size_t>(index));
  zero_again(file_, segment.offset, offset, segment.mapping.data() + offset, bytes);
}

}  // namespace tw
