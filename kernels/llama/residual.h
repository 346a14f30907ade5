// The ends of the residual stream: what a part of a model begins with and what it gives on.
#pragma once

#include "tilewire/kernels/llama.h"
#include "tilewire/tile/program_ops.h"

namespace TW_NS {

struct FirstNormOp {
  using Args = LlamaFirstNorm;
  static constexpr bool kConsumerOnly = true;
  template <class Block>
  TW_FN static void run(ProgramBlock<Block>& program, const Args& args, const uint32_t* at) {
    const size_t end = at[0] + LiveRows{&args.step->rows}.of(at[0], at[1]);
    program.come();
    const Row row = program.row(args.n);
    const float* const weight = args.weights + args.step->first_layer * args.n;
    for (size_t i = at[0]; i < end; ++i) {
      program.tile_block().load(row, args.x.at(i, 0).data, TW_FP32);
      norm_to(program, row, weight, args.eps, args.y, i, at[2]);
    }
  }
};

struct HiddenOp {
  using Args = LlamaHidden;
  static constexpr bool kConsumerOnly = true;
  template <class Block>
  TW_FN static void run(ProgramBlock<Block>& program, const Args& args, const uint32_t* at) {
    const size_t end = at[0] + LiveRows{&args.step->hidden_rows}.of(at[0], at[1]);
    program.come();
    const Row row = program.row(args.n);
    for (size_t i = at[0]; i < end; ++i) {
      program.tile_block().load(row, args.x.at(i, 0).data, TW_FP32);
      program.meet(at[2]);
      program.tile_block().store_all(
          program.count(at[2]),
          [&](int r) {
            return program.at_rank(program.receiver(at[2], r), args.hidden).at(i, 0).data;
          },
          nullptr, row, TW_FP32);
    }
  }
};

}  // namespace TW_NS
