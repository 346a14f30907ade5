// The tile block: what a tile program is written against. A kernel's data flow stands in it once;
// every role of every target runs the same program, and an op does that role's share.
//
//   loader     brings tiles of operands near (GPU: one warp, TMA into a ring of stages)
//   consumer   multiplies, adds, applies epilogues (GPU: two warpgroups, wgmma)
//   storer     carries results and signals to other devices (GPU: one warp, bulk stores)
// A CPU worker, and a warp on sm_80, has all roles.
//
// `TileBlockOps` below is the contract; `TileBlock` is this target's implementation
// (impl/{cpu,gpu}/tile_block.h). On GPUs the ops are called by every thread of a role, with equal
// arguments, in uniform control flow. TileCall (tile_call.h) adds what ranks share: where peers'
// memory is, signals between tiles, and the rule of reuse.
//
// Roles run apart. Loaders run ahead of consumers, over the end of a tile and of a loop, as far as
// the ring of stages goes; storers lag behind. So a wait binds what it stands at: `wait` binds the
// consumer's later ops; an operand that must be waited for is bound by `after`, so that the loader
// can fetch the other operand, which depends on nothing, before. `signal` comes after everything
// that any role of this block has stored, and after what `wait` has waited for, before it.
//
// Work. Loops over tiles (or items) take the next number from a counter that all blocks of the
// launch share. Rule: a tile may wait only for tiles with smaller numbers of the same loop, or of
// earlier loops, of any rank; or for one with the same number that waits for nothing itself. So no
// launch can deadlock, with any number of blocks and of workers down to one, in any order.
//
// Failure. When a wait fails (the comm has ended), ops do nothing any more, loops end, and the
// kernel falls through to its end; it needs no `if`. `ok()` tells. What needs anything that did not
// come is neither stored nor signalled; ops before it in the program may or may not have been done.
//
// Bits. A sum's products are added over K in one order that depends on the target, N and K only:
// not on M, the tile's shape or place, nor on who else works.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/kernels/program.h"
#include "tilewire/tile/block.h"
#include "tilewire/tile/grid.h"
#include "tilewire/tile/matrix.h"
#include "tilewire/tile/packed.h"
#include "tilewire/tile_device.h"

namespace TW_NS {

/// fp32 numbers of one row, in memory that only this block uses.
struct Row {
  float* data;
  size_t n;
};

/// Of a row's numbers that are above a limit: how many, and what they weigh together.
struct RowAbove {
  size_t count;
  double weight;
};

/// 1 / sqrt(x) in fp32, each step rounded: the same bits on all targets.
TW_FN float inverse_sqrt(float x);

/// e^x (x <= 0; below e^-87 it is e^-87) and the natural logarithm (x > 0, a normal number).
/// Relative errors below 3e-7.
TW_FN float exponential_of(float x);
TW_FN float logarithm_of(float x);

// clang-format off
#if 0  // The contract. Never compiled: TileBlock has these members.
class TileBlockOps {
 public:
  /// Elements of K in one multiply step; the most rows and columns of a tile.
  static constexpr size_t kTileK, kTileRows, kTileCols;

  int index() const;          // this block's number, and how many the launch has
  int blocks() const;
  const char* name() const;   // the kernel's
  bool ok() const;            // false once a wait failed

  // ---- Work ----

  /// for (const Tile tile : block.tiles(grid, phase)): each tile of the grid, or of a part of it,
  /// once, by one block of the launch, in the grid's order. `phase`: number of the loop in the
  /// kernel, from 0, below kTilePhases.
  /// Role: all (the loader takes numbers). Scope: device. Order: none. Blocks: no.
  TileLoop tiles(TilePart part, int phase);
  /// for (const uint32_t i : block.items(n, phase)): the same with plain numbers.
  ItemLoop items(uint32_t n, int phase);

  // ---- Sums ----

  /// A tile of fp32 sums, all zero. One is alive at a time.
  /// Role: consumer. Scope: block. Order: none. Blocks: no.
  Accumulator accumulator(const Tile& tile);

  /// sum += a * b over up to kTileK elements of K: a's rows from a.row, K from a.col, b's K from
  /// b.row, columns from b.col (and, when the tile is paired, from tile.pair + b.col). Ends at the
  /// edges of tile and operands. Called with K = 0, kTileK, 2 kTileK ... in turn. Operands live
  /// until the kernel ends, and elements do not change in a launch once they were multiplied: roles
  /// read them later, and CPUs keep packed rows of A.
  /// Role: loader (waits for a.ready and b.ready, each just before it loads that operand),
  /// consumer. Scope: system. Order: acquire of the operands' words. Blocks: yes.
  void mma(Accumulator& sum, const OperandAt& a, const OperandAt& b);

  /// What is reduced and stored from here on concerns these rows of the tile, and nothing is
  /// defined of the others. A place is then where row `part.first` goes. At first: all rows.
  /// Role: consumer, storer. Scope: block. Order: none. Blocks: no.
  void only_rows(Accumulator& sum, const RowPart& part);

  /// sum = sum over r = 0 .. ranks-1, in that order, of partial(r), a slot into which put_all, or
  /// put_parts for these rows, wrote this tile, or, for r == self, of the sum itself, rounded to
  /// `type` like the others (self = -1: none is). The total is rounded to `type`: the bits are
  /// those of put_all everywhere and an all_reduce.
  /// Role: consumer. Scope: system. Order: none. Blocks: no.
  template <class Partial>
  void reduce(Accumulator& sum, int ranks, int self, Partial partial, tw_type_t type);

  /// Applies the epilogue and stores the tile, in `to.type`, where this device's own blocks or its
  /// host will read it. Paired tiles must have Activation::kSwiGlu.
  /// Role: consumer, storer. Scope: device. Order: none. Blocks: no.
  void store(const TilePlace& to, Accumulator& sum, const Epilogue& epilogue);

  /// As store, to n places that peers will read after a later signal; places without data are left
  /// out. `everywhere`: one address that reaches all n places (multicast), or null data. The result
  /// is the same with and without. How bytes leave is the set's store policy.
  /// Role: consumer, storer. Scope: system. Order: none. Blocks: no.
  template <class To>
  void store_all(int n, To to, const TilePlace& everywhere, Accumulator& sum,
                 const Epilogue& epilogue);

  /// Stores the sums, rounded to `type`, into n slots slot(0 .. n-1) (char*, null: left out) of
  /// slot_bytes each, in an order that only `reduce` on the same target knows. `everywhere`: as
  /// above. The sum stays as it is.
  /// Role: consumer, storer. Scope: system. Order: none. Blocks: no.
  template <class Slot>
  void put_all(int n, Slot slot, char* everywhere, const Accumulator& sum, tw_type_t type);

  /// As put_all, but slot(i) gets the rows part(i) (RowPart; without rows: nothing) only. On CPUs
  /// the slot holds no others; on GPUs it has room for the whole tile.
  /// Role: consumer, storer. Scope: system. Order: none. Blocks: no.
  template <class Slot, class Part>
  void put_parts(int n, Slot slot, Part part, const Accumulator& sum, tw_type_t type);

  // ---- Attention (tilewire/kernels/attention.h) ----

  /// Query rows of some heads, at most kAttentionLines lines, and nothing attended yet. One is
  /// alive at a time, and no accumulator beside it. q, K and V are bf16; scores, weights' sums and
  /// results are fp32, but weights may be rounded to bf16 before they meet V (the same for all
  /// lines). GPUs: heads of up to kGpuMostHeadSize, keys and values at multiples of 16 bytes, query
  /// heads of 8: else the block fails (TW_ERROR_UNSUPPORTED).
  /// Role: consumer. Scope: block. Order: none. Blocks: no.
  Attention attention(const AttentionTile& tile);

  /// The lines' result of split `split` of the keys, in place of the split's before. Keys that a
  /// line does not see count as not there; keys that no line sees are not read, nor their pages.
  /// Role: loader, consumer. Scope: device. Order: none. Blocks: no.
  void attend(Attention& sum, const AttentionKeys& keys, uint32_t split);

  /// total = total and split, where lines saw any of it: splits are folded in rising order.
  /// Role: consumer. Scope: block. Order: none. Blocks: no.
  void fold(Attention& sum);

  /// Stores the split's result (AttentionLimits::partial_floats a line), and loads one in its
  /// place.
  /// Role: consumer. Scope: device. Order: none. Blocks: no.
  void put_partial(float* to, const Attention& sum);
  void take_partial(Attention& sum, const float* from);

  /// Stores the total, in bf16, as q lies: zeros for lines that saw no key.
  /// Role: consumer, storer. Scope: device. Order: none. Blocks: no.
  void store(const TilePlace& to, const Attention& sum);

  // ---- Bulk ----

  /// Copies `rows` rows of `bytes` bytes from `from` to n places to(0 .. n-1) (char*, null: left
  /// out), rows `from_stride` and `to_stride` bytes apart. `everywhere`: as above. `when`: when
  /// `from` may be read; waited for in any case. Every role asks for the places, so they must not
  /// need `meet` (TileCall::out_of).
  /// Role: loader (in, waits), storer (out). Scope: system. Order: acquire of `when`. Blocks: yes.
  template <class To>
  void copy_all(int n, To to, char* everywhere, size_t to_stride, const char* from,
                size_t from_stride, size_t rows, size_t bytes, const Ready& when = {});

  // ---- Rows ----

  /// Role of all: consumer. Scope: block, but where said. Order: none. Blocks: no.
  void load(const Row& row, const void* from, tw_type_t type);      // row[i] = from[i]
  void add(const Row& row, const void* from, tw_type_t type);       // row[i] += from[i]
  /// row[i] = sum over r = 0 .. n-1, in that order, of from(r)[i]. `everywhere`: null, or one
  /// address that reads all n and adds in the fabric (multimem), in the fabric's order: for kernels
  /// whose bits may change from run to run (TW_REDUCE_FAST); targets without it read from(r).
  /// Scope: system.
  template <class From>
  void load_sum(const Row& row, int n, From from, const void* everywhere, tw_type_t type);
  void multiply(const Row& row, const void* by, tw_type_t type);    // row[i] *= by[i]
  void scale(const Row& row, float by);                             // row[i] *= by
  void activate(const Row& row, Activation activation);             // no kSwiGlu
  void round(const Row& row, tw_type_t type);                       // to the nearest of that type
  /// In an order that depends on the target and n only.
  float sum(const Row& row);
  float sum_of_squares(const Row& row);
  float max(const Row& row);
  void set(const Row& row, size_t i, float value);                  // row[i] = value
  /// (row[i], row[i + h]) = (a c - b s, b c + a s), with a, b what they were, c = cosines[i],
  /// s = sines[i], i = 0 .. h - 1, h = n / 2.
  void rotate(const Row& row, const float* cosines, const float* sines);
  /// Rounded to `type`; places as in store_all. Scope: system.
  template <class To>
  void store_all(int n, To to, char* everywhere, const Row& row, tw_type_t type);

  // ---- Choosing from rows ----
  // Role of all: consumer. Scope: block. Order: none. Blocks: no. Sums are of fp64 numbers, in an
  // order that depends on the target and n only.

  /// Row[i] = -infinity where it is NaN or bit first + i of `bits` is 0 (null: none is), and the
  /// largest finite number where it is +infinity.
  void allow(const Row& row, const uint32_t* bits, size_t first);
  /// to[i] = e^((row[i] - from) * by), the bits of exponential_of; from >= all of the row, by > 0.
  void exponentials(float* to, const Row& row, float from, float by);
  /// The sum of e^(row[i] - from), from as above.
  double sum_of_exponentials(const Row& row, float from);
  /// Of the numbers above `limit`; number i weighs weights[i].
  RowAbove above(const Row& row, const float* weights, float limit);
  /// Copies the numbers above `low` and not above `high`, and their weights, in order; how many.
  /// `to` and `to_weights` may be the row and its weights, and have room for 16 more.
  size_t keep(float* to, float* to_weights, const Row& row, const float* weights, float low,
              float high);
  /// The index of the number that equals `value` after `skip` others do; n: there is none.
  size_t find(const Row& row, float value, size_t skip);
  /// *to = value, for other blocks of this device and for the host. Scope: device.
  template <class T>
  void put(T* to, T value);

  // ---- Signals ----

  /// Stores `value` into word(0 .. n-1) (uint64_t*, null: left out) after everything that any role
  /// of this block stored before is complete and visible to the peers, and after what it waited for
  /// (`wait`, `wait_all`) has come.
  /// Role: storer. Scope: system. Order: release. Blocks: no.
  template <class Word>
  void signal(At at, int n, Word word, uint64_t value);

  /// Waits until *when.word >= when.value. Binds the consumer's later ops, not the loader's: see
  /// `after` and copy_all's `when`.
  /// Role: consumer. Scope: system. Order: acquire. Blocks: yes.
  void wait(At at, const Ready& when);
  /// Waits for when(0 .. n-1), in any order.
  template <class When>
  void wait_all(At at, uint32_t n, When when);

  // ---- For programs (tile/program.h) ----

  /// Whether this role takes part in what is the consumer's alone: rows, attention, plain C++.
  static constexpr bool kConsumes;
  /// What follows is the consumer's alone; where kConsumes is false it is left out.
  /// Role: all. Scope: block. Order: none. Blocks: no.
  void consume_alone();
  /// True in one of the threads that are the consumer: for plain C++ that stores. Others see it
  /// after a signal.
  /// Role: consumer. Scope: block. Order: none. Blocks: no.
  bool leads() const;
  /// From here on, `a` of mma may be read when own words of waits[0 .. n-1] are >= value. For the
  /// loader, which `wait_all` does not bind: the consumer waits for the same.
  /// Role: loader, in mma. Scope: system. Order: acquire. Blocks: mma does.
  void bind_left(const ProgramWait* waits, uint32_t n, uint64_t value);

  /// Whether a block that waits can use the time: then there are `fetch` and `has_come`.
  static constexpr bool kFetchesAhead;
  /// Hints that what lies there will be read by this block soon. Order: none. Blocks: no.
  void fetch(const char* data, size_t bytes);
  /// Whether a wait for `when` would end at once. Scope: system. Order: none. Blocks: no.
  bool has_come(const Ready& when);

  /// Adds 1 to *count after everything that any role of this block stored before is complete, as
  /// for `signal`. Who makes it `full` sets it to 0, then stores `value` into word(0 .. n-1)
  /// (uint64_t*, null: left out): after what all who added had stored.
  /// Role: storer. Scope: device (count), system (words). Order: acq_rel, release. Blocks: no.
  template <class Word>
  void raise(At at, uint64_t* count, uint64_t full, int n, Word word, uint64_t value);

  /// Operands may have changed since they were multiplied: nothing of them is kept.
  /// Role: all. Scope: block. Order: none. Blocks: no.
  void forget();

  /// Nanoseconds of a clock that all ranks of this machine share.
  /// Role: consumer. Scope: block. Order: none. Blocks: no.
  uint64_t clock();
  // ---- For TileCall ----

  /// Writes down what call this rank is in (as Block::record), then `entered` (release).
  /// Role: storer. Scope: system. Order: release. Blocks: no.
  void announce(At at, CallRecord* to, const CallRecord& from, uint64_t* next, uint64_t* entered,
                uint64_t epoch);

  /// As Block::signal with a payload for each line.
  /// Role: storer. Scope: system. Order: release. Blocks: no.
  template <class Line, class Payload>
  void enter(At at, int n, Line line, uint64_t value, Payload payload);

  /// As Block::wait_digest_all.
  /// Role: consumer and storer, each for itself. Scope: system. Order: acquire. Blocks: yes.
  template <class Word, class Peer>
  void meet(At at, int n, Word word, uint64_t value, Peer peer);

  /// As Block::report_mismatch; the block has failed then. Role: consumer, storer.
  void report_mismatch(int peer, uint64_t got, uint64_t want);

  /// The last thing a block does; every role has done its work when it returns. In the last block
  /// of the launch to get here: sets the counters to 0, adds 1 to counters->launches, and then sets
  /// *epoch to `value`. Nothing after a failure.
  /// Role: all. Scope: device. Order: acq_rel. Blocks: no.
  void finish(TileCounters* counters, uint64_t* epoch, uint64_t value);
};
#endif
// clang-format on

}  // namespace TW_NS

#if defined(__CUDACC__)
#include "tilewire/tile/impl/gpu/tile_block.h"
#else
#include "tilewire/tile/impl/cpu/tile_block.h"
#endif
