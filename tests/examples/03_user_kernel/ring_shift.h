// The kernel's arguments, shared by host and kernel.
#pragma once

#include <cstddef>

#include "tilewire/signal_device.h"
#include "tilewire/window_device.h"

/// Moves `bytes` bytes of every rank's window one rank to the right. The window's first half holds
/// what is sent, the second half what has arrived.
struct RingShiftArgs {
  tw_window_view window;
  tw_signal_view signals;  // slots: 2 per block
  size_t bytes;
};
