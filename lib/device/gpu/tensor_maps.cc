#include "lib/device/gpu/tensor_maps.h"

#include "lib/device/gpu/device.h"
#include "tilewire/tile/matrix.h"
#include "tilewire/tile/packed.h"

namespace tw::gpu {
namespace {

constexpr size_t kAlignment = 16;                // of address and stride, bytes
constexpr size_t kMostExtent = size_t{1} << 31;  // coordinates are int32
constexpr size_t kMostStride = size_t{1} << 40;  // bytes
constexpr uint32_t kBoxBytes = 128;              // of K

int element_type(tw_type_t type) {
  return type == TW_FP32 ? kMapFloat32 : type == TW_FP16 ? kMapFloat16 : kMapBfloat16;
}

}  // namespace

const void* TensorMaps::find(const Key& key, bool may_make) {
  const size_t stride = key.stride * packed_element(key.type);
  if (key.data % kAlignment != 0 || stride % kAlignment != 0 || stride == 0 ||
      stride >= kMostStride || key.lines == 0 || key.k == 0 || key.lines >= kMostExtent ||
      key.k >= kMostExtent)
    return nullptr;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (const auto found = made_.find(key); found != made_.end()) return found->second;
  if (!may_make || made_.size() == kMost) return nullptr;
  return make(key);
}

const void* TensorMaps::make(const Key& key) {
  const uint32_t element = static_cast<uint32_t>(packed_element(key.type));
  const uint64_t extents[] = {key.k, key.lines}, strides[] = {key.stride * element};
  const uint32_t box[] = {kBoxBytes / element, kTensorMapLines}, steps[] = {1, 1};
  TensorMap map{};
  TW_GPU(device_.driver(), cuTensorMapEncodeTiled, &map, element_type(key.type), 2,
         reinterpret_cast<void*>(key.data), extents, strides, box, steps, kInterleaveNone,
         kSwizzle128, kPromoteTo128, kZerosOutside);
  if (memory_ == nullptr) memory_ = device_.allocate(kMost * sizeof(TensorMap));
  char* const at = memory_->data() + made_.size() * sizeof(TensorMap);
  device_.write(at, &map, sizeof map);
  made_.emplace(key, at);
  return at;
}

void TensorMaps::free_all() { memory_.reset(); }

}  // namespace tw::gpu
