// Pinned host memory in pieces of MeetingWords::kBytes. What is given back is used again and freed
// with the device: cuMemFreeHost waits for launches.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "lib/device/device.h"
#include "lib/device/gpu/driver.h"

namespace tw::gpu {

class WordsPool {
 public:
  explicit WordsPool(const Driver& driver) : driver_(driver) {}

  /// Zeroed. In the current context. Throws OUT_OF_MEMORY.
  std::unique_ptr<MeetingWords> take();
  /// When none is in use any more. In the current context.
  void free_all();

 private:
  class Words;
  struct Piece {
    char* host;
    Address device;
  };
  void add_page();

  const Driver& driver_;
  std::mutex mutex_;
  std::vector<void*> pages_;
  std::vector<Piece> free_;
};

}  // namespace tw::gpu
