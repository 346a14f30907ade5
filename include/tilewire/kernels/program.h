// A program as one device's launch sees it: shared by the host, which makes it (lib/program), and
// the kernel, which runs it (tile/program.h, where the protocol is written down).
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tilewire/kernels/gemm.h"
#include "tilewire/tile/grid.h"
#include "tilewire/tile/matrix.h"
#include "tilewire/tile_device.h"

namespace tw {

/// A counter belongs to a device. `raises` instructions of it raise the counter in each launch; who
/// raises it last tells the devices of `told` (a bit for each rank, the own one included).
struct ProgramCounter {
  uint32_t raises;
  uint32_t told;
};

/// Until counter `counter` of device `sender` is full in this launch.
struct ProgramWait {
  uint32_t sender;
  uint32_t counter;
};

/// One piece of one op. `at` says which; its meaning is the op's.
struct ProgramInstruction {
  uint32_t op;  // ProgramArgs::ops[op]
  uint32_t at[4];
  uint32_t first_wait, waits;    // ProgramArgs::waits[first_wait ...]
  uint32_t first_raise, raises;  // ProgramArgs::raises[first_raise ...]: counters of this device
};

/// What an op does to what: `kind` is its place in the kernel's list of op types, its argument
/// struct lies at ProgramArgs::arguments + offset.
struct ProgramOp {
  uint32_t kind;
  uint32_t layer;  // for traces
  size_t offset;
};

/// When a block took an instruction, when its waits were over, when it was done: nanoseconds of the
/// device's clock.
struct ProgramRecord {
  uint32_t op, block;
  uint64_t start, ready, end;
};

/// One device's launch. All memory is the device's own and outlives the launch.
struct ProgramArgs {
  tw_tile_view tiles;
  const ProgramInstruction* list;
  const ProgramWait* waits;
  const uint32_t* raises;
  const ProgramCounter* counters;
  uint64_t* counts;  // of each counter, 0 between launches
  const ProgramOp* ops;
  const char* arguments;
  uint32_t count;  // instructions
  uint32_t row;    // floats in each block's row
  float* rows;     // for row ops: block b's at rows + b * row
  char* scratch;   // for an op's own use: block b's at scratch + b * scratch_bytes
  size_t scratch_bytes;
  ProgramRecord* trace;  // [count] by instruction, or null
  tw_type_t products;    // GPUs: the type of all factors of the program
};
static_assert(std::is_trivially_copyable_v<ProgramArgs>);

/// A matrix that every rank has at the same place: in the tile set's data.
struct SharedMatrix {
  size_t offset;  // bytes
  size_t stride;  // elements
  tw_type_t type;
};

/// How many of an op's rows a launch has: *rows when not null, else all there are. One program
/// serves every number of rows up to that for which it was built; an instruction without rows does
/// nothing but raise its counters.
struct LiveRows {
  const uint32_t* rows;
  constexpr size_t of(size_t first, size_t most) const {
    if (rows == nullptr) return most;
    if (*rows <= first) return 0;
    return *rows - first < most ? *rows - first : most;
  }
};

/// What ranks have added to the rows of a sum, at who keeps these rows: of the lowest rank, then
/// `sender_bytes` further on of the next one.
struct PartialSums {
  SharedMatrix lowest;
  size_t sender_bytes;
  uint32_t first;    // the row that is its row 0
  uint32_t senders;  // a bit for each rank that has a part; 0: nobody
};

/// to = epilogue(a b), tile by tile, at the ranks whose bits at[2] has.
/// at = {row tile, column tile, ranks}.
struct ProgramGemm {
  LiveRows live;
  TileGrid grid;
  Operand a, b;
  Epilogue epilogue;
  SharedMatrix to;
  const uint32_t* shared;  // not null: when *shared is 0, only this rank gets them
  uint32_t by_owner;       // 1: row 0 of `to` is the first row of the tile's owner
};

/// at = {first row, rows, ranks}. For these rows, y at these ranks:
///   x += sum over the senders, in rank order, of their partial sums   (fp32; without senders: x)
///   y = x / sqrt(mean(x^2) + eps) * weight, rounded to y's type       (weight null: no y)
struct ProgramReduceNorm {
  LiveRows live;
  size_t n;
  Matrix x;  // fp32
  PartialSums sums;
  const float* weight;
  float eps;
  SharedMatrix y;
};

}  // namespace tw
