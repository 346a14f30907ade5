// Arguments of what tw_signal and tw_wait_signal launch on GPUs (kernels/coll/signal_word.cu).
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tilewire/tile/comm_view.h"

namespace tw {

/// With `sent`: counts it up and raises `word` to it. Else waits until `word` is at least `value`.
struct SignalWordArgs {
  CommView comm;
  uint64_t* word;
  uint64_t* sent;  // signals so far; null: wait
  uint64_t value;
  int sender;   // who raises `word`, for messages
  size_t slot;  // the same
};
static_assert(std::is_trivially_copyable_v<SignalWordArgs>);

}  // namespace tw
