// Runs a program: a tile program that is an interpreter of instructions. Target-independent.
//
//   using MyOps = ProgramOps<GemmOp, ReduceNormOp, MyOp>;
//   template <class Block>
//   TW_FN void my_program(Block& block, const ProgramArgs& args) {
//     run_program<MyOps>(block, args);
//   }
//   TW_TILE_KERNEL(my_program, ProgramArgs)
//
// An op type has `using Args` (trivially copyable, in ProgramArgs::arguments) and
//   template <class Block>
//   static TW_FN void run(ProgramBlock<Block>& block, const Args& args, const uint32_t* at);
// which waits (`come`) before it touches what other instructions touch, and meets the peers
// before it stores to one or reads one's memory. Within one op, A of a product stays as it was when
// the op's first instruction read it: rows that were packed are used again, whatever kConsumerOnly
// ops come between (they write no row of A that is still to be read, as its readers come first; and
// of the block's scratch they use no more than kTileScratch). An op of rows, attention or plain
// C++, without products and copies, says `static constexpr bool kConsumerOnly = true;`: other roles
// leave it out. Any other is run by all roles, and what decides its way must not change while the
// launch runs.
//
// Protocol. Blocks take the next instruction from the list's head (TileBlock::items). An
// instruction waits for counters, each full when a word of (sender, counter) in own memory is this
// launch's epoch: who raised the counter last stored it (release; the waiter acquires, system
// scope). Before, each instruction that raises it has added 1 to the counter's count on its own
// device (acq_rel), after all that it stored is complete; the last one sets the count back to 0, so
// counts are 0 between launches and nothing needs to know how many launches there were.
// Instructions wait only for earlier ones of one global order, of which each list is a part: so no
// program deadlocks with any number of blocks.
// Reuse between launches: TileCall's rule. An access to a peer comes after `meet`, when the peer
// has left its launch before this one; and what peers store here in a launch is waited for in it
// (the checker sees to both). So programs that share a tile set may follow each other in any
// sequence that is the same on all ranks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/kernels/program.h"
#include "tilewire/tile/fetch_ahead.h"
#include "tilewire/tile/tile_call.h"
#include "tilewire/tile/tile_kernel.h"

namespace TW_NS {

/// What an op has of its block while it runs.
template <class Block>
class ProgramBlock {
 public:
  TW_FN ProgramBlock(Block& block, const ProgramArgs& args, FetchAhead::RightOf right_of)
      : block_(block), args_(args), call_(block, args.tiles), ahead_(right_of, block.blocks()) {}

  /// The block, for the tile layer's ops.
  TW_FN Block& tile_block() { return block_; }
  /// The launch.
  TW_FN TileCall<Block>& call() { return call_; }
  /// This rank, and how many there are.
  TW_FN int rank() const { return call_.rank(); }
  /// See `rank`.
  TW_FN int size() const { return call_.size(); }

  /// Waits for all that the instruction waits for: the consumer, and the loader before it loads
  /// left operands. Right operands depend on nothing.
  /// Role: consumer, loader. Scope: system. Order: acquire. Blocks: yes.
  TW_FN void come(At at = At::here()) {
    const ProgramWait* const waits = args_.waits + now_->first_wait;
    const auto when = [&](uint32_t i) {
      return call_.when(static_cast<int>(waits[i].sender), waits[i].counter, at);
    };
    if constexpr (Block::kFetchesAhead) {
      for (uint32_t i = 0; i < now_->waits; ++i)
        while (!block_.has_come(when(i)) && ahead_.more(block_, args_, number_)) continue;
    }
    block_.wait_all(at, now_->waits, when);
    block_.bind_left(waits, now_->waits, call_.epoch());
    if (args_.trace != nullptr) block_.put(&args_.trace[number_].ready, block_.clock());
  }

  /// `n` floats of this block's own for a row (n <= ProgramArgs::row).
  TW_FN Row row(size_t n) const {
    return {args_.rows + static_cast<size_t>(block_.index()) * args_.row, n};
  }
  /// Memory of this block's own, ProgramArgs::scratch_bytes of it.
  TW_FN char* scratch() const {
    return args_.scratch + static_cast<size_t>(block_.index()) * args_.scratch_bytes;
  }

  /// Row 0 of a shared matrix at `rank`.
  TW_FN Matrix at_rank(int rank, const SharedMatrix& m) const {
    return {call_.data(rank, m.offset), m.stride, m.type};
  }

  /// The i-th of the ranks of a set of bits, beginning with the own one or the next after it.
  TW_FN int receiver(uint32_t ranks, int i) const {
    for (int p = 0;; ++p) {
      const int r = call_.peer(p);
      if ((ranks >> r & 1) != 0 && i-- == 0) return r;
    }
  }
  TW_FN static int count(uint32_t ranks) { return __builtin_popcount(ranks); }

  /// Before a store to ranks of `ranks`.
  TW_FN void meet(uint32_t ranks, At at = At::here()) {
    if ((ranks & ~(1u << rank())) != 0) call_.meet(at);
  }

  // ---- For run_program ----

  /// Takes the next instruction.
  TW_FN void begin(uint32_t number) {
    const ProgramInstruction& instruction = args_.list[number];
    number_ = number;
    now_ = &instruction;
    if (args_.trace != nullptr) {
      ProgramRecord* const to = args_.trace + number;
      const uint64_t now = block_.clock();
      block_.put(&to->op, instruction.op);
      block_.put(&to->block, static_cast<uint32_t>(block_.index()));
      block_.put(&to->start, now);
      block_.put(&to->ready, now);
    }
  }
  /// The instruction may multiply.
  TW_FN void multiplies() {
    if (now_->op != multiplied_) block_.forget();
    multiplied_ = now_->op;
  }

  /// Raises the instruction's counters.
  TW_FN void end(At at = At::here()) {
    for (uint32_t i = 0; i < now_->raises; ++i) {
      const uint32_t c = args_.raises[now_->first_raise + i];
      const ProgramCounter& counter = args_.counters[c];
      block_.raise(
          at, args_.counts + c, counter.raises, call_.size(),
          [&](int p) {
            const int r = call_.peer(p);
            return (counter.told >> r & 1) != 0 ? call_.word(r, c) : nullptr;
          },
          call_.epoch());
    }
    if (args_.trace != nullptr) block_.put(&args_.trace[number_].end, block_.clock());
  }

  /// Ends the launch in this block.
  TW_FN void close() { call_.close(); }

 private:
  Block& block_;
  const ProgramArgs& args_;
  TileCall<Block> call_;
  const ProgramInstruction* now_ = nullptr;
  FetchAhead ahead_;
  uint32_t number_ = 0;
  uint32_t multiplied_ = UINT32_MAX;  // the last op that may have
};

/// An op may tell what an instruction multiplies by, packed, in one or two parts, so that it is
/// fetched while the block waits: `static PackedPart right(const Args&, const uint32_t* at, int)`.
template <class Op>
concept HasRight = requires(const typename Op::Args& args, const uint32_t* at) {
  Op::right(args, at, 0);
};

template <class Op>
concept ConsumerOnly = requires {
  requires Op::kConsumerOnly;
};

/// The op types of a kernel; an op's kind is its place here.
template <class... Ops>
struct ProgramOps {
  template <class Block>
  TW_FN static void run(ProgramBlock<Block>& block, const ProgramArgs& args,
                        const ProgramInstruction& instruction) {
    const ProgramOp& op = args.ops[instruction.op];
    uint32_t kind = 0;
    ((op.kind == kind++ ? run_one<Ops>(block, args.arguments + op.offset, instruction.at)
                        : static_cast<void>(0)),
     ...);
  }

  /// FetchAhead::RightOf.
  TW_FN static PackedPart right(const ProgramArgs& args, const ProgramInstruction& instruction,
                                int part) {
    const ProgramOp& op = args.ops[instruction.op];
    PackedPart found{};
    uint32_t kind = 0;
    ((op.kind == kind++ ? right_one<Ops>(args.arguments + op.offset, instruction.at, part, &found)
                        : static_cast<void>(0)),
     ...);
    return found;
  }

 private:
  template <class Op>
  TW_FN static void right_one(const char* args, const uint32_t* at, int part, PackedPart* found) {
    if constexpr (HasRight<Op>)
      *found = Op::right(*reinterpret_cast<const typename Op::Args*>(args), at, part);
  }

  template <class Op, class Block>
  TW_FN static void run_one(ProgramBlock<Block>& block, const char* args, const uint32_t* at) {
    if constexpr (ConsumerOnly<Op>)
      block.tile_block().consume_alone();
    else
      block.multiplies();
    if constexpr (!ConsumerOnly<Op> || Block::kConsumes)
      Op::run(block, *reinterpret_cast<const typename Op::Args*>(args), at);
  }
};

/// Runs this block's share of the program: a tile program's body.
/// Role: all. Scope: system. Order: acquire, release. Blocks: yes.
template <class Ops, class Block>
TW_FN void run_program(Block& block, const ProgramArgs& args) {
  FetchAhead::RightOf right_of = nullptr;
  if constexpr (Block::kFetchesAhead) right_of = &Ops::right;
  ProgramBlock<Block> program(block, args, right_of);
  for (const uint32_t i : block.items(args.count, 0)) {
    program.begin(i);
    Ops::run(program, args, args.list[i]);
    program.end();
  }
  program.close();
}

}  // namespace TW_NS
