// A tile set of the user's behind its handle.
#pragma once

#include <memory>

#include "lib/comm/window.h"
#include "lib/device/buffer.h"
#include "tilewire/tile/grid.h"
#include "tilewire/tile_device.h"

namespace tw {

struct TileSet {
  std::unique_ptr<Window> window;
  TileLayout layout{};
  Buffer scratch;            // none on GPUs
  size_t scratch_bytes = 0;  // of a block
  struct Counts {
    TileCounters counters;
    uint64_t epoch;
  };
  std::unique_ptr<DeviceMemory> memory;  // Counts

  Counts* counts() const { return reinterpret_cast<Counts*>(memory->data()); }

  Comm& comm() const { return window->comm(); }
};

}  // namespace tw
