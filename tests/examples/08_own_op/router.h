// The own op's arguments, shared by host and kernel.
#pragma once

#include "tilewire/kernels/program_ops.h"
#include "tilewire/window_device.h"

using tw::ProgramArgs;

/// at = {first row, rows}. Softmax of row i of `scores` to row first_row + i of all routes.
struct SoftmaxToAll {
  tw::Matrix scores;  // this rank's rows x n
  size_t n;
  tw_window_view routes;  // at each rank: all ranks' rows x n, fp32
  size_t first_row;
};
