// A signal set behind its handle.
#pragma once

#include <memory>

#include "lib/comm/window.h"
#include "tilewire/signal_device.h"

namespace tw {

struct SignalSet {
  std::unique_ptr<Window> window;
  size_t slots;
  /// What is this rank's alone, in its device's memory.
  struct Counts {
    uint64_t epoch, finished;
    /// sent()[peer * slots + slot]: signals by tw_signal so far.
    uint64_t* sent() { return &finished + 1; }
  };
  std::unique_ptr<DeviceMemory> memory;
  Kernel kernel;  // of GPUs

  Counts* counts() const { return reinterpret_cast<Counts*>(memory->data()); }

  Comm& comm() const { return window->comm(); }

  /// `sender`'s word of `slot` at `receiver`.
  uint64_t* word(int receiver, int sender, size_t slot) const {
    return reinterpret_cast<uint64_t*>(window->data(receiver) +
                                       signal_offset(slot, sender, comm().size()));
  }
};

}  // namespace tw
