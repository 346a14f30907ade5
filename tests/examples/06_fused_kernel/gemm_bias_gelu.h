// The kernel's arguments, shared by host and kernel.
#pragma once

#include "tilewire/kernels/gemm.h"

/// C = gelu(sum over ranks of A B + bias) on every rank: each holds a share of K.
struct GemmBiasGeluArgs {
  tw_tile_view tiles;
  tw::TileGrid grid;
  tw::Operand a, b;
  tw::Matrix c;
  tw::Epilogue epilogue;  // bias and GELU
  tw::PartialSlots partials;
};
