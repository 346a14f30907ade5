// Argument structs of the GEMM kernels (kernels/gemm/*.cu), shared by host, kernel and test.
#pragma once

#include <type_traits>

#include "tilewire/tile/grid.h"
#include "tilewire/tile/matrix.h"
#include "tilewire/tile/packed.h"
#include "tilewire/tile_device.h"

namespace tw {

/// RMSNorm of finished rows x (already rounded to `hidden.type`):
///   out = x / sqrt(mean(x^2) + eps) * weight
struct RowNorm {
  const void* weight;  // [n], of hidden's type; null: no norm
  float eps;
  Matrix hidden;  // x: written by the tiles, read by the norm; the whole result's rows
  float* rows;    // a row of n fp32 numbers for each block of the launch
};

/// C = epilogue(A B), n columns (with SwiGLU: of the result; B has 2 n). With norm.weight the tiles
/// go to norm.hidden and C gets the normed rows.
struct GemmArgs {
  tw_tile_view tiles;  // of this rank alone: size 1
  TileGrid grid;
  Operand a, b;
  Matrix c;
  Epilogue epilogue;
  RowNorm norm;
};

/// C = epilogue(gathered A x B). A's rows are sharded over the ranks: `owners` has a segment for
/// each, in the pieces in which they travel. Data of the set: the gathered A at `gathered` (an
/// offset), in A's layout with `gathered_stride` elements. grid.rows is `owners`: then own rows
/// are not copied; or, where each rank has few rows, one segment: then all of A is gathered first,
/// tiles have rows of several ranks, and B is read once.
struct AllGatherGemmArgs {
  tw_tile_view tiles;
  TileGrid grid;
  Segments owners;
  Operand a;  // own rows
  Operand b;
  Matrix c;  // all rows
  Epilogue epilogue;
  size_t gathered;
  size_t gathered_stride;
  Operand all;      // the gathered A in own data: `at` coordinates are of all rows
  Matrix returned;  // where the caller wants the gathered A, own rows included, in A's layout
};

/// Where partial tiles lie: slot of (sender, tile) at offset + (sender * count + tile number) *
/// bytes in the owner's data. One struct gives sizes and addresses.
struct PartialSlots {
  size_t offset;
  size_t bytes;  // of a slot: slot_bytes
  size_t count;  // tiles for which an owner has slots
  tw_type_t type;

  constexpr size_t at(int sender, size_t number) const {
    return offset + (static_cast<size_t>(sender) * count + number) * bytes;
  }
  constexpr size_t end(int ranks) const { return at(ranks, 0); }
};

/// Bytes of one tile's slot on CPUs, or of the slot of up to `rows` rows of one: columns in whole
/// panels.
constexpr size_t slot_bytes(const TileGrid& grid, tw_type_t type, size_t rows = SIZE_MAX) {
  const size_t element = type == TW_FP32 ? 4 : 2, halves = grid.pair == 0 ? 1 : 2;
  const size_t cols = divide_up(grid.cols.step, kPanelCols) * kPanelCols;
  const size_t most = rows < grid.rows.step ? rows : grid.rows.step;
  return divide_up(most * cols * halves * element, 128) * 128;
}

/// C = epilogue(rows that this rank owns of the sum over ranks of A B). `owners` has a segment for
/// each owner; so has grid.rows, or, for few rows, one segment: then tiles have rows of several
/// owners, and B is read once. C, residual: own rows only.
struct GemmReduceScatterArgs {
  tw_tile_view tiles;
  TileGrid grid;
  Segments owners;
  Operand a, b;
  Matrix c;
  Epilogue epilogue;
  PartialSlots partials;
};

/// How a fused all-reduce moves partial tiles.
enum class ReducePath : uint32_t {
  kOneShot,   // to every rank, each adds all: one hand-over, ranks times the bytes
  kViaOwner,  // to the row's owner, who adds and gives the result to all
};

/// C = epilogue(sum over ranks of A B), then optionally RMSNorm, on every rank. kViaOwner: owners
/// have rows, as in GemmReduceScatterArgs, or, for few rows without a norm, columns: grid.cols has
/// a segment for each. kOneShot: nobody owns anything.
///
/// Signal slots: tile id: its partial has come. ids + tile id: its result (norm: its rows of
/// hidden) is there. 2 ids + r: normed row r is there.
struct GemmAllReduceArgs {
  tw_tile_view tiles;
  TileGrid grid;
  Segments owners;
  ReducePath path;
  Operand a, b;
  Matrix c;       // also tiles.out[0]
  Matrix hidden;  // x = epilogue(sum), before the norm; null: not wanted. Also tiles.out[1]
  Epilogue epilogue;
  RowNorm norm;
  PartialSlots partials;
  // kViaOwner: where results for this rank's private memory arrive, in its data.
  size_t staged_c, staged_hidden;
};

/// As GemmAllReduceArgs without the product: `input` is this rank's addend. The grid has one column
/// of tiles. Signal slots: as above.
struct AllReduceNormArgs {
  tw_tile_view tiles;
  TileGrid grid;
  ReducePath path;
  Matrix input;
  Matrix c;
  Matrix hidden;
  const void* residual;  // rows as `input`, or null
  size_t residual_stride;
  const void* weight;
  float eps;
  float* rows;
  size_t partials;  // offset: rows of each sender, packed, at partials + sender * sender_bytes
  size_t sender_bytes;
  size_t staged_c, staged_hidden;
};

/// The columns of epilogue(A B) go to their owners: rank q gets column segment q of all ranks'
/// rows, in rank order. grid.rows has a segment for each sender, grid.cols for each receiver.
/// Signal slot: tile id.
struct GemmAllToAllArgs {
  tw_tile_view tiles;
  TileGrid grid;
  Operand a, b;  // own rows, all columns
  Matrix c;      // all rows, own columns; also tiles.out[0]
  Epilogue epilogue;
  size_t staged;  // in own data: all rows x own columns, packed, for private C
};

/// The end of a call that is carried out by its parts: C, hidden = epilogue, norm of `input`. The
/// grid has one column of tiles. With norm.weight, x goes to norm.hidden first.
struct RowEpilogueArgs {
  tw_tile_view tiles;  // of this rank alone
  size_t m, n;
  Matrix input;
  Matrix c;
  Epilogue epilogue;  // no kSwiGlu
  RowNorm norm;
};

static_assert(std::is_trivially_copyable_v<GemmAllReduceArgs> && sizeof(GemmAllReduceArgs) < 4096);

}  // namespace tw
