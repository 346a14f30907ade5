// The heaps of one kind that ranks of this process have made, by id, for its other ranks.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

namespace tw {

/// T: what ranks share of a heap. Any thread.
template <class T>
class HeapRegistry {
 public:
  /// Outlives every static destructor.
  static HeapRegistry& get() {
    static HeapRegistry* const instance = new HeapRegistry;
    return *instance;
  }

  void add(uint64_t id, const std::shared_ptr<T>& heap) {
    const std::lock_guard<std::mutex> lock(mutex_);
    heaps_[id] = heap;
  }
  void remove(uint64_t id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    heaps_.erase(id);
  }
  /// Null when there is none.
  std::shared_ptr<T> find(uint64_t id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = heaps_.find(id);
    return found == heaps_.end() ? nullptr : found->second.lock();
  }

 private:
  std::mutex mutex_;
  std::map<uint64_t, std::weak_ptr<T>> heaps_;
};

}  // namespace tw
