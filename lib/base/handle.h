// Handles: opaque pointers that encode {slot, generation}, so that a destroyed or foreign handle is
// found out without touching freed memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "lib/base/error.h"

namespace tw {

/// Hands out handles of C type `Handle` (a pointer to an incomplete struct) for objects `T`.
/// A handle is never reused: its generation grows. `kTag` (1 to 15) tells tables apart.
template <class Handle, class T, unsigned kTag>
class HandleTable {
 public:
  HandleTable() = default;
  HandleTable(const HandleTable&) = delete;
  HandleTable& operator=(const HandleTable&) = delete;
  /// Live objects stay: their owners may still use them. No call may come later.
  ~HandleTable() {
    for (const std::atomic<Slot*>& chunk : chunks_) delete[] chunk.load(std::memory_order_relaxed);
  }

  /// Room for one object, taken before it is made: then putting it into the table cannot fail.
  class Place {
   public:
    explicit Place(HandleTable& table) : table_(table), index_(table.take()) {}
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() {
      if (!filled_) table_.give_back(index_);
    }

    /// The object becomes the table's until `erase`, whose caller deletes it. Once.
    Handle fill(std::unique_ptr<T> object) noexcept {
      filled_ = true;
      return table_.put(index_, std::move(object));
    }

   private:
    HandleTable& table_;
    const uint32_t index_;
    bool filled_ = false;
  };

  /// Throws OUT_OF_RESOURCES.
  Place place() { return Place(*this); }
  Handle insert(std::unique_ptr<T> object) { return place().fill(std::move(object)); }

  /// The object, or null when the handle is not live.
  T* find(Handle handle) const {
    const uint64_t bits = reinterpret_cast<uint64_t>(handle);
    const uint32_t index = static_cast<uint32_t>(bits >> 4) & (kChunk * kChunks - 1);
    if ((bits & 15) != kTag) return nullptr;
    const Slot* slot = at(index);
    if (slot == nullptr) return nullptr;
    const uint64_t key = slot->key.load(std::memory_order_acquire);
    if ((key & 1) == 0 || bits != reinterpret_cast<uint64_t>(encode(index, key))) return nullptr;
    return slot->object.load(std::memory_order_relaxed);
  }

  /// Ends the handle; false when it was not live.
  bool erase(Handle handle) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (find(handle) == nullptr) return false;
    const uint32_t index =
        static_cast<uint32_t>(reinterpret_cast<uint64_t>(handle) >> 4) & (kChunk * kChunks - 1);
    Slot& slot = *at(index);
    slot.key.store(slot.key.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    slot.object.store(nullptr, std::memory_order_relaxed);
    free_.push_back(index);  // has room for every slot there is
    return true;
  }

 private:
  uint32_t take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!free_.empty()) {
      const uint32_t index = free_.back();
      free_.pop_back();
      return index;
    }
    if (used_ == kChunk * kChunks) fail(TW_ERROR_OUT_OF_RESOURCES, "too many live handles");
    if (used_ % kChunk == 0) {
      free_.reserve(used_ + kChunk);
      chunks_[used_ / kChunk].store(new Slot[kChunk], std::memory_order_release);
    }
    return used_++;
  }

  void give_back(uint32_t index) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(index);
  }

  Handle put(uint32_t index, std::unique_ptr<T> object) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    Slot& slot = *at(index);
    slot.object.store(object.release(), std::memory_order_relaxed);
    const uint64_t key = slot.key.load(std::memory_order_relaxed) + 1;  // odd: live
    slot.key.store(key, std::memory_order_release);
    return encode(index, key);
  }

  static constexpr uint32_t kChunk = 1024, kChunks = 1024;  // 2^20 slots, 4 + 20 bits; 40 of key
  struct Slot {
    std::atomic<uint64_t> key{0};
    std::atomic<T*> object{nullptr};
  };

  static Handle encode(uint32_t index, uint64_t key) {
    return reinterpret_cast<Handle>((key << 24) | (uint64_t{index} << 4) | kTag);
  }
  Slot* at(uint32_t index) const {
    Slot* chunk = chunks_[index / kChunk].load(std::memory_order_acquire);
    return chunk == nullptr ? nullptr : chunk + index % kChunk;
  }

  std::mutex mutex_;
  std::vector<uint32_t> free_;
  uint32_t used_ = 0;
  std::atomic<Slot*> chunks_[kChunks] = {};
};

}  // namespace tw
