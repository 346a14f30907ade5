// A signal set behind its handle.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "lib/comm/window.h"
#include "tilewire/signal_device.h"

namespace tw {

struct SignalSet {
  std::unique_ptr<Window> window;
  size_t slots;
  std::vector<uint64_t> sent;  // [peer * slots + slot]: host signals so far
  uint64_t epoch = 0;
  uint64_t finished = 0;

  Comm& comm() const { return window->comm(); }

  /// `sender`'s word of `slot` at `receiver`.
  uint64_t* word(int receiver, int sender, size_t slot) const {
    return reinterpret_cast<uint64_t*>(window->data(receiver) +
                                       signal_offset(slot, sender, comm().size()));
  }
};

}  // namespace tw
