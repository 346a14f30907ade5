// What one target's multiply step and row ops can do, behind plain functions: tile_loops.cc is
// compiled once per target.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/matrix.h"

namespace tw::perf {

struct TileLoops {
  const char* target;
  /// `rounds` times as many products as registers hold, without memory; returns their flops.
  double (*multiply_bf16)(size_t rounds);
  double (*multiply_fp32)(size_t rounds);
  /// The kernel `gemm`, one block; weights of `b`, by rows, packed for it.
  void (*gemm)(const void* args, int block, int blocks);
  void (*pack)(void* to, const Operand& b);
  /// RMSNorm, and GELU, of a row of n bf16 elements, in fp32 between.
  void (*norm_row)(void* to, const void* from, const void* weight, float* row, size_t n);
  void (*gelu_row)(void* to, const void* from, float* row, size_t n);
};

}  // namespace tw::perf
