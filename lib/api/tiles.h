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
  Buffer scratch;
  size_t scratch_bytes = 0;  // of a block
  TileCounters counters{};
  uint64_t epoch = 0;

  Comm& comm() const { return window->comm(); }
};

}  // namespace tw
