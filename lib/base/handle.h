// Handles: opaque pointers that encode {slot, generation}, so that a destroyed or foreign handle is
// found out without touching freed memory, in whatever order threads come.
//
// Protocol. Slots live as long as the table. A slot's key is odd while it holds an object. A user
// pins the slot (adds 1 to `pins`, seq_cst) and then reads the key (seq_cst): if it is that of the
// handle, the object stays until it unpins (release). `erase` makes the key even (seq_cst), so that
// no new pin finds the object, then waits until all pins are gone (seq_cst, so acquire); only then
// may its caller delete the object. So a caller gives its own pin up first, and has a lock that
// keeps others from erasing. A wait for a peer under a pin delays whoever erases the same object,
// nobody else.
//
// A slot's `busy` flag is such a lock, for one user at a time (acquire; release): whoever holds it
// and then finds the key to be the handle's keeps the object, since `end` is called under it only.
// Whoever comes with a destroyed handle, but was slow, may hold it for a moment while the slot
// serves a new object, whose user is then refused as a second one.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "lib/base/error.h"

namespace tw {

/// Hands out handles of C type `Handle` (a pointer to an incomplete struct) for objects `T`.
/// A handle is never reused: its generation grows. `kTag` (1 to 15) tells tables apart.
template <class Handle, class T, unsigned kTag>
class HandleTable {
  static constexpr uint32_t kChunk = 1024, kChunks = 1024;  // 2^20 slots, 4 + 20 bits; 40 of key
  struct alignas(64) Slot {
    std::atomic<uint64_t> key{0};
    std::atomic<uint32_t> pins{0};
    std::atomic<bool> busy{false};
    std::atomic<T*> object{nullptr};
  };

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

    /// The flag of the slot.
    std::atomic<bool>* busy() const { return &table_.at(index_)->busy; }

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

  /// An object that stays while this lives; or null when the handle is not live.
  class Pin {
   public:
    Pin(const HandleTable& table, Handle handle) : slot_(table.slot_of(handle)) {
      if (slot_ == nullptr) return;
      slot_->pins.fetch_add(1);
      if (table.is_live(*slot_, handle)) object_ = slot_->object.load(std::memory_order_relaxed);
    }
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;
    ~Pin() { release(); }

    void release() {
      if (slot_ != nullptr) slot_->pins.fetch_sub(1);
      slot_ = nullptr;
    }

    T* get() const { return object_; }

   private:
    Slot* slot_;
    T* object_ = nullptr;
  };
  Pin pin(Handle handle) const { return Pin(*this, handle); }

  /// The one user of an object, for as long as this lives, unless the handle is not live or another
  /// is.
  class Lock {
   public:
    Lock(const HandleTable& table, Handle handle) : slot_(table.slot_of(handle)) {
      live_ = slot_ != nullptr && is_live(*slot_, handle);
      if (!live_ || slot_->busy.exchange(true, std::memory_order_acquire)) {
        slot_ = nullptr;
        return;
      }
      live_ = is_live(*slot_, handle);
      if (live_) object_ = slot_->object.load(std::memory_order_relaxed);
    }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;
    ~Lock() {
      if (slot_ != nullptr) slot_->busy.store(false, std::memory_order_release);
    }

    /// Null: see `live`.
    T* get() const { return object_; }
    bool live() const { return live_; }

   private:
    Slot* slot_;
    T* object_ = nullptr;
    bool live_;
  };

  /// The object, or null when the handle is not live. For callers that know that nobody erases it
  /// meanwhile.
  T* find(Handle handle) const { return pin(handle).get(); }

  /// Ends the handle and returns when nobody pins the object, which the caller deletes. False when
  /// it was not live.
  bool erase(Handle handle) {
    if (!end(handle)) return false;
    recycle(handle);
    return true;
  }

  /// As erase, in two steps: the slot serves again after `recycle`, once its flag is free.
  bool end(Handle handle) {
    Slot* const slot = slot_of(handle);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (slot == nullptr || !is_live(*slot, handle)) return false;
      slot->key.fetch_add(1);
    }
    while (slot->pins.load() != 0) std::this_thread::yield();
    slot->object.store(nullptr, std::memory_order_relaxed);
    return true;
  }
  void recycle(Handle handle) { give_back(index_of(handle)); }

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
    free_.push_back(index);  // has room for every slot there is
  }

  Handle put(uint32_t index, std::unique_ptr<T> object) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    Slot& slot = *at(index);
    slot.object.store(object.release(), std::memory_order_relaxed);
    return encode(index, slot.key.fetch_add(1) + 1);  // odd: live
  }

  static Handle encode(uint32_t index, uint64_t key) {
    return reinterpret_cast<Handle>((key << 24) | (uint64_t{index} << 4) | kTag);
  }
  static uint32_t index_of(Handle handle) {
    return static_cast<uint32_t>(reinterpret_cast<uint64_t>(handle) >> 4) & (kChunk * kChunks - 1);
  }
  /// Null for what cannot be a handle of this table.
  Slot* slot_of(Handle handle) const {
    return (reinterpret_cast<uint64_t>(handle) & 15) == kTag ? at(index_of(handle)) : nullptr;
  }
  static bool is_live(const Slot& slot, Handle handle) {
    const uint64_t key = slot.key.load();
    return (key & 1) != 0 && handle == encode(index_of(handle), key);
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
