// From a checked GEMM call to the arguments of its kernel: the grid, and what lies where in the
// comm's workspace.
#pragma once

#include <cstddef>
#include <variant>

#include "lib/coll/gemm_call.h"
#include "lib/device/device.h"
#include "tilewire/kernels/gemm.h"

namespace tw {

using AnyGemmArgs =
    std::variant<GemmArgs, AllGatherGemmArgs, GemmReduceScatterArgs, GemmAllReduceArgs,
                 GemmAllToAllArgs, AllReduceNormArgs, RowEpilogueArgs>;

/// A kernel with arguments that lack what the comm's memory gives: the view and the buffers of
/// rows. `slots`, `data`: signal words and bytes that it needs at each rank.
struct GemmLaunch {
  const KernelImage* kernel;
  AnyGemmArgs args;
  uint32_t tiles;  // of the first loop
  size_t tile_rows;
  size_t slots, data;
  size_t row;        // floats of a row that each block needs
  bool peers_write;  // into C and hidden, where these are windows
};

/// `blocks`: the most that a launch of the comm may have, equal on all ranks.
GemmLaunch gemm_launch(const GemmCall& call, const Place& place, ReducePath path, int blocks);

/// The end of a call by its parts: epilogue and norm of `input`, `rows` rows of it.
GemmLaunch epilogue_launch(const GemmCall& call, const Matrix& input);

/// The norm of a call as kernels want it; x goes to C where it is not wanted by itself.
RowNorm row_norm(const GemmCall& call);

}  // namespace tw
