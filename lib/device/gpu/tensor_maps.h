// Tensor maps of operands, by which loaders fetch boxes (TMA), in memory of a GPU. What a map says
// follows from its key alone, so one that was made serves every later call and is never changed;
// there are so many at most, and operands beyond them are copied by elements.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "lib/device/device.h"
#include "lib/device/gpu/cuda.h"

namespace tw::gpu {

class GpuDevice;

class TensorMaps {
 public:
  /// Lines of `k` elements, `stride` elements apart.
  struct Key {
    Address data;
    size_t stride, lines, k;
    tw_type_t type;

    auto operator<=>(const Key&) const = default;
  };

  explicit TensorMaps(GpuDevice& device) : device_(device) {}

  /// The map in the GPU's memory; null where there can be none (tile/matrix.h, Operand), or there
  /// is none and it may not be made.
  const void* find(const Key& key, bool may_make);
  /// When nothing uses them any more.
  void free_all();

 private:
  static constexpr size_t kMost = 16384;  // a segment's worth

  const void* make(const Key& key);

  GpuDevice& device_;
  std::mutex mutex_;
  std::unique_ptr<DeviceMemory> memory_;
  std::map<Key, const void*> made_;
};

}  // namespace tw::gpu
