// The ops of every program: products, what follows a sum over ranks, and rows. A kernel of the
// user's own runs them beside its own ops:
//
//   template <class Block>
//   TW_FN void my_program(Block& block, const ProgramArgs& args) {
//     run_program<ProgramOpsAnd<MyOp>>(block, args);
//   }
//   TW_TILE_KERNEL(my_program, ProgramArgs)
//
// and its host gives the kernel to tw_program_create (tilewire/program.h), which knows MyOp as own
// op 0.
#pragma once

#include "tilewire/kernels/program_ops.h"
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
    const size_t owner_first = args.by_owner != 0 ? args.grid.rows.begin[tile.row_owner] : 0;
    block.store_all(
        program.count(receivers),
        [&](int i) {
          const Matrix to = program.at_rank(program.receiver(receivers, i), args.to);
          return to.at(tile.row - owner_first, tile.col);
        },
        TilePlace{}, sum, args.epilogue);
  }
  TW_FN static PackedPart right(const Args& args, const uint32_t* at, int part) {
    const Tile tile = args.grid.tile(at[0], at[1]);
    const bool absent = args.b.rows == 0 || (part == 1 && tile.pair == 0);
    if (args.live.of(tile.row, tile.rows) == 0 || absent) return {};
    return packed_columns(args.b, tile.col + (part == 0 ? 0 : tile.pair), tile.cols);
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

/// row = the sum, in rank order, of what the senders have for row i, in own memory.
template <class Block>
TW_FN void load_partials(ProgramBlock<Block>& program, const Row& row, const PartialSums& sums,
                         size_t i) {
  bool first = true;
  SharedMatrix of = sums.lowest;
  for (int r = 0; r < program.size(); ++r, of.offset += sums.sender_bytes) {
    if ((sums.senders >> r & 1) == 0) continue;
    const void* const from = program.at_rank(program.rank(), of).at(i - sums.first, 0).data;
    if (first)
      program.tile_block().load(row, from, of.type);
    else
      program.tile_block().add(row, from, of.type);
    first = false;
  }
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
      if (args.sums.senders != 0) add_partials(program, args, row, i);
      if (args.sums.senders == 0) block.load(row, args.x.at(i, 0).data, TW_FP32);
      if (args.weight != nullptr) norm_to(program, row, args.weight, args.eps, args.y, i, at[2]);
    }
  }

 private:
  template <class Block>
  TW_FN static void add_partials(ProgramBlock<Block>& program, const Args& args, const Row& row,
                                 size_t i) {
    Block& block = program.tile_block();
    load_partials(program, row, args.sums, i);
    block.add(row, args.x.at(i, 0).data, TW_FP32);
    block.store_all(
        1, [&](int) { return args.x.at(i, 0).data; }, nullptr, row, TW_FP32);
  }
};

/// Rows by themselves: the end of a sum over ranks, an activation, a residual, a norm, a copy.
struct RowsOp {
  using Args = ProgramRows;
  static constexpr bool kConsumerOnly = true;
  template <class Block>
  TW_FN static void run(ProgramBlock<Block>& program, const Args& args, const uint32_t* at) {
    const size_t end = at[0] + args.live.of(at[0], at[1]);
    program.come();
    for (size_t i = at[0]; i < end; ++i) {
      const Row row = program.row(args.n);
      compute(program, args, row, i);
      program.meet(at[2]);
      give(program, args.to, row, i, at[2]);
      if (args.weight == nullptr) continue;
      Block& block = program.tile_block();
      const float mean = block.sum_of_squares(row) / static_cast<float>(args.n);
      block.scale(row, inverse_sqrt(mean + args.eps));
      block.multiply(row, args.weight, args.weight_type);
      give(program, args.y, row, i, at[2]);
    }
  }

 private:
  template <class Block>
  TW_FN static void compute(ProgramBlock<Block>& program, const Args& args, const Row& row,
                            size_t i) {
    Block& block = program.tile_block();
    const Epilogue& e = args.epilogue;
    if (args.sums.senders != 0) {
      load_partials(program, row, args.sums, i);
      block.round(row, args.sums.lowest.type);
    } else {
      block.load(row, args.x.at(i, 0).data, args.x.type);
    }
    if (e.bias != nullptr) block.add(row, e.bias, e.type);
    block.activate(row, e.activation);
    if (args.times.data != nullptr) block.multiply(row, args.times.at(i, 0).data, args.times.type);
    if (e.residual.data != nullptr) block.add(row, e.residual.at(i, 0).data, e.residual.type);
    if (args.to.at[program.rank()] != nullptr) block.round(row, args.to.type);
  }

  template <class Block>
  TW_FN static void give(ProgramBlock<Block>& program, const RankMatrix& to, const Row& row,
                         size_t i, uint32_t ranks) {
    if (to.at[program.rank()] == nullptr) return;
    program.tile_block().store_all(
        program.count(ranks), [&](int r) { return to.place(program.receiver(ranks, r), i).data; },
        nullptr, row, to.type);
  }
};

/// The ops of every program, and after them a kernel's own.
template <class... Own>
using ProgramOpsAnd = ProgramOps<GemmOp, ReduceNormOp, RowsOp, Own...>;

}  // namespace TW_NS
