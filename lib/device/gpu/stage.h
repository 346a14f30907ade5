// Small host data that a launch's kernel reads and writes: pinned memory in slots that are used in
// turn. A slot serves one launch; it is used again when that launch is done.
#pragma once

#include <cstddef>
#include <vector>

#include "lib/device/gpu/driver.h"

namespace tw::gpu {

class StageRing {
 public:
  /// In the current context.
  explicit StageRing(const Driver& driver);
  StageRing(const StageRing&) = delete;
  StageRing& operator=(const StageRing&) = delete;
  ~StageRing();

  /// A copy for the next launch, as kernels see it. May wait for the launch that had the slot
  /// before. Throws OUT_OF_RESOURCES beyond kSlotBytes a launch.
  const void* add(const void* data, size_t bytes);
  /// That launch is on `stream` now.
  void launched(StreamHandle stream);
  /// It will not come.
  void drop() { used_ = 0; }

  static constexpr size_t kSlotBytes = size_t{16} << 10;

 private:
  static constexpr size_t kSlots = 64;
  struct Slot {
    char* host = nullptr;
    Address device = 0;
    EventHandle done = nullptr;
    bool in_use = false;
  };

  const Driver& driver_;
  std::vector<Slot> slots_;
  size_t next_ = 0;
  size_t used_ = 0;  // bytes of slot next_, for the next launch
};

}  // namespace tw::gpu
