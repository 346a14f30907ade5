// tw_mem_alloc: local memory that can become a window. Allocations come from a few large memfds of
// this process ("pools"), so that they cost no descriptors and a pool is passed to a peer once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "lib/base/fd.h"

namespace tw {

/// Where an allocation lies.
struct PoolMemory {
  uint64_t pool;   // id of the pool, unique on this machine
  size_t offset;   // of the address in the pool
  const Fd* file;  // the pool's memfd; lives as long as the process
  size_t pool_bytes;
};

/// Zeroed, aligned to 4 KiB (huge page when large). Throws OUT_OF_MEMORY.
void* mem_alloc(size_t bytes);

/// Throws INVALID_ARGUMENT when `ptr` is not what mem_alloc returned, INVALID_STATE while it is in
/// use.
void mem_free(void* ptr);

/// Use of memory that must not be freed meanwhile.
class MemoryUse {
 public:
  MemoryUse() = default;
  /// Throws INVALID_ARGUMENT unless [ptr, ptr + bytes) lies inside one live allocation.
  MemoryUse(const void* ptr, size_t bytes);
  MemoryUse(MemoryUse&& other) noexcept
      : begin_(std::exchange(other.begin_, nullptr)), where_(other.where_) {}
  MemoryUse& operator=(MemoryUse&& other) noexcept {
    std::swap(begin_, other.begin_);
    std::swap(where_, other.where_);
    return *this;
  }
  MemoryUse(const MemoryUse&) = delete;
  MemoryUse& operator=(const MemoryUse&) = delete;
  ~MemoryUse();

  const PoolMemory& where() const { return where_; }

 private:
  const char* begin_ = nullptr;  // of the allocation
  PoolMemory where_{};
};

/// A pool as mapped in this process: its own, or another process's.
class MappedPool {
 public:
  virtual ~MappedPool() = default;
  virtual char* data() const = 0;
};

/// The mapping of pool `id` in this process; null when it is not mapped (then adopt its file).
std::shared_ptr<MappedPool> find_pool(uint64_t id);
std::shared_ptr<MappedPool> adopt_pool(uint64_t id, Fd file, size_t bytes);

}  // namespace tw
