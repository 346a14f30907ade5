// The ops of every program: products and what follows a sum over ranks.
#pragma once

#include "tilewire/kernels/program.h"
#include "tilewire/tile/program.h"

namespace TW_NS {

/// One tile of a product, to one rank or several.
struct GemmOp {
  using Args = ProgramGemm;
  template <class Block>
  TW_FN static void run(ProgramBlock<Block>& program, const Args& args, const uint32_t* at) {
    Block& block = program.tile_block();
    Tile tile = args.grid.tile(at[0], at[1]);
    tile.rows = args.live.of(tile.row, tile.rows);
    program.come();
    if (tile.rows == 0) return;
    auto sum = block.accumulator(tile);
    for (size_t k = 0; k < args.a.cols; k += Block::kTileK)
      block.mma(sum, args.a.at(tile.row, k), args.b.at(k, tile.col));
    const bool alone = args.shared != nullptr && *args.shared == 0;
    const uint32_t receivers = alone ? 1u << program.rank() : at[2];
    program.meet(receivers);
    block.store_all(
        program.count(receivers),
        [&](int i) {
          return program.at_rank(program.receiver(receivers, i), args.to).at(tile.row, tile.col);
        },
        TilePlace{}, sum, args.epilogue);
  }
};

/// Norms a row for the next product: into y at every rank of `receivers`.
template <class Block>
TW_FN void norm_to(ProgramBlock<Block>& program, const Row& row, const float* weight, float eps,
                   const SharedMatrix& y, size_t i, uint32_t receivers) {
  Block& block = program.tile_block();
  const float mean = block.sum_of_squares(row) / static_cast<float>(row.n);
  block.scale(row, inverse_sqrt(mean + eps));
  block.multiply(row, weight, TW_FP32);
  program.meet(receivers);
  block.store_all(
      program.count(receivers),
      [&](int r) { return program.at_rank(program.receiver(receivers, r), y).at(i, 0).data; },
      nullptr, row, y.type);
}

/// Rows of the residual stream: adds what the ranks have, and norms for the next product.
struct ReduceNormOp {
  using Args = ProgramReduceNorm;
  static constexpr bool kConsumerOnly = true;
  template <class Block>
  TW_FN static void run(ProgramBlock<Block>& program, const Args& args, const uint32_t* at) {
    Block& block = program.tile_block();
    const size_t end = at[0] + args.live.of(at[0], at[1]);
    program.come();
    const Row row = program.row(args.n);
    for (size_t i = at[0]; i < end; ++i) {
      if (args.senders != 0) add_partials(program, args, row, i);
      if (args.senders == 0) block.load(row, args.x.at(i, 0).data, TW_FP32);
      if (args.weight != nullptr) norm_to(program, row, args.weight, args.eps, args.y, i, at[2]);
    }
  }

 private:
  template <class Block>
  TW_FN static void add_partials(ProgramBlock<Block>& program, const Args& args, const Row& row,
                                 size_t i) {
    Block& block = program.tile_block();
    bool first = true;
    for (int r = 0; r < program.size(); ++r) {
      if ((args.senders >> r & 1) == 0) continue;
      SharedMatrix partial = args.partial;
      partial.offset += static_cast<size_t>(r) * args.sender_bytes;
      const void* const from = program.at_rank(program.rank(), partial).at(i, 0).data;
      if (first)
        block.load(row, from, partial.type);
      else
        block.add(row, from, partial.type);
      first = false;
    }
    block.add(row, args.x.at(i, 0).data, TW_FP32);
    block.store_all(
        1, [&](int) { return args.x.at(i, 0).data; }, nullptr, row, TW_FP32);
  }
};

}  // namespace TW_NS
