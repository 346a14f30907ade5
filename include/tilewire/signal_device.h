// Signals as kernels and other device code see them: tw_signals_get_view gives the view by value.
//
// A set has `slots` words per (receiver, sender). In launch number e (the set's epoch) stage k of a
// slot is the value e << 16 | k, so values only grow, nothing is ever zeroed, and a kernel launched
// again needs no new arguments. The epoch lies in comm memory; the last block of a launch advances
// it (Signals::close). A slot is used by one block, or by the blocks that agree on stages.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/comm_view.h"

extern "C" {

/// By value into kernels. Valid while the signal set lives.
typedef struct tw_signal_view {  // NOLINT(modernize-use-using): a C name
  uint32_t version;              // kCommLayoutVersion
  int rank;
  int size;
  size_t slots;
  char* const* words;  // [size]: each rank's words as mapped by this device
  uint64_t* epoch;     // launches that used the set
  uint64_t* finished;  // blocks of the running launch that are done
  struct tw::WaitContext* wait;
} tw_signal_view;
}

namespace tw {

/// Bytes between words: each has its line.
inline constexpr size_t kSignalStride = sizeof(FlagLine);

}  // namespace tw
