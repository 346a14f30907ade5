// Windows as kernels and other device code see them: tw_window_get_view gives the view by value.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/comm_view.h"

extern "C" {

/// By value into kernels. Valid while the window lives.
typedef struct tw_window_view {  // NOLINT(modernize-use-using): a C name
  uint32_t version;              // kCommLayoutVersion
  int rank;
  int size;
  char* const* parts;   // [size]: each rank's part as mapped by this device
  const size_t* bytes;  // [size]
  struct tw::WaitContext* wait;
} tw_window_view;
}
