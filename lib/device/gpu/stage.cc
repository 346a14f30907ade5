#include "lib/device/gpu/stage.h"

#include <cstring>

#include "lib/base/error.h"
#include "lib/base/round.h"

namespace tw::gpu {
namespace {

constexpr size_t kAlignment = 64;

}  // namespace

StageRing::StageRing(const Driver& driver) : driver_(driver), slots_(kSlots) {
  void* memory = nullptr;
  TW_GPU(driver_, cuMemHostAlloc, &memory, kSlots * kSlotBytes, kPortable | kDeviceMap);
  Address device = 0;
  TW_GPU(driver_, cuMemHostGetDevicePointer, &device, memory, 0);
  for (size_t i = 0; i < kSlots; ++i) {
    slots_[i].host = static_cast<char*>(memory) + i * kSlotBytes;
    slots_[i].device = device + i * kSlotBytes;
    TW_GPU(driver_, cuEventCreate, &slots_[i].done, kDisableTiming);
  }
}

StageRing::~StageRing() {
  for (const Slot& slot : slots_) driver_.cuEventDestroy(slot.done);
  driver_.cuMemFreeHost(slots_[0].host);
}

const void* StageRing::add(const void* data, size_t bytes) {
  Slot& slot = slots_[next_];
  if (bytes > kSlotBytes - used_)
    fail(TW_ERROR_OUT_OF_RESOURCES,
         "a launch on a GPU takes %zu bytes of host arrays with it; valid: up to %zu",
         used_ + bytes, kSlotBytes);
  if (slot.in_use) {
    TW_GPU(driver_, cuEventSynchronize, slot.done);
    slot.in_use = false;
  }
  const size_t at = used_;
  std::memcpy(slot.host + at, data, bytes);
  used_ = round_up(used_ + bytes, kAlignment);
  return reinterpret_cast<const void*>(slot.device + at);
}

void StageRing::launched(StreamHandle stream) {
  if (used_ == 0) return;
  TW_GPU(driver_, cuEventRecord, slots_[next_].done, stream);
  slots_[next_].in_use = true;
  used_ = 0;
  next_ = (next_ + 1) % kSlots;
}

}  // namespace tw::gpu
