// Small pieces of a GPU's memory: they share allocations, each of which takes 2 MiB at least.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "lib/base/range_allocator.h"
#include "lib/device/device.h"

namespace tw::gpu {

class GpuDevice;

class SmallMemory {
 public:
  explicit SmallMemory(GpuDevice& device) : device_(device) {}

  /// Larger ones have allocations of their own.
  static constexpr size_t kMost = size_t{64} << 10;

  /// Zeroed. Throws OUT_OF_MEMORY.
  std::unique_ptr<DeviceMemory> take(size_t bytes);
  /// When no piece is in use any more.
  void free_all() { segments_.clear(); }

 private:
  class Piece;

  GpuDevice& device_;
  std::mutex mutex_;
  RangeAllocator ranges_;
  std::vector<std::shared_ptr<Heap>> segments_;
};

}  // namespace tw::gpu
