// What the library's tile programs leave unused of the tile block, so that it stays compiled within
// its registers: a multicast address wherever an op takes one, every row op, and results in slots,
// tiles and rows of one program. Only compiled (tests/gpu_build.def); operands may be transposed,
// packed or paired and of any type, as everywhere.
//
// Signal slots: tile id: its partials have come. ids + tile id: its result has. 2 ids + r: changed
// row r has. 2 ids + rows + r: its copy has.
#include "tilewire/kernels/gemm.h"
#include "tilewire/tile/tile_call.h"
#include "tilewire/tile/tile_kernel.h"

namespace TW_NS {

struct TileOpsArgs {
  tw_tile_view tiles;
  TileGrid grid;
  Operand a, b;
  Epilogue epilogue;
  PartialSlots partials;
  // Offsets in the set's data of packed matrices, sender_bytes apart for each sender: results, rows
  // of them after row ops, and copies of these.
  size_t result, changed, copied, sender_bytes;
  tw_type_t type;  // of all three
  const void* weight;
  float* rows;  // a row of fp32 for each block
};

template <class Block>
class TileOps {
 public:
  TW_FN TileOps(Block& block, const TileOpsArgs& args)
      : block_(block), args_(args), grid_(args.grid), call_(block, args.tiles) {}

  TW_FN void run() {
    call_.meet();
    for (const Tile tile : block_.tiles(grid_, 0)) multiply(tile);
    for (const Tile tile : block_.tiles(grid_, 1)) add(tile);
    const uint32_t rows = static_cast<uint32_t>(grid_.rows.total());
    for (const uint32_t r : block_.items(rows, 2)) change(r);
    for (const uint32_t r : block_.items(rows, 3)) copy(r);
    for (const uint32_t r : block_.items(rows, 4)) call_.wait_all(copy_slot(r));
    call_.close();
  }

 private:
  TW_FN size_t element() const { return args_.type == TW_FP32 ? 4 : 2; }
  TW_FN size_t width() const { return grid_.cols.total(); }
  /// Element (row, col) of this rank's part of a matrix.
  TW_FN size_t place(size_t matrix, size_t row, size_t col) const {
    return matrix + static_cast<size_t>(call_.rank()) * args_.sender_bytes +
           (row * width() + col) * element();
  }
  TW_FN size_t row_slot(size_t r) const { return 2 * grid_.ids() + r; }
  TW_FN size_t copy_slot(size_t r) const { return row_slot(grid_.rows.total()) + r; }

  /// A partial tile to all ranks.
  TW_FN void multiply(const Tile& tile) {
    auto sum = block_.accumulator(tile);
    for (size_t k = 0; k < args_.a.cols; k += Block::kTileK)
      block_.mma(sum, args_.a.at(tile.row, k), args_.b.at(k, tile.col));
    const size_t at = args_.partials.at(call_.rank(), tile.id);
    block_.put_all(
        call_.size(), [&](int r) { return call_.data(r, at); }, call_.data_everywhere(at), sum,
        args_.partials.type);
    call_.signal_all(tile.id);
  }

  /// The partials of a tile, added, to all ranks.
  TW_FN void add(const Tile& tile) {
    call_.wait_all(tile.id);
    auto sum = block_.accumulator(tile);
    block_.reduce(
        sum, call_.size(), /*self=*/-1,
        [&](int r) { return call_.data(call_.rank(), args_.partials.at(r, tile.id)); },
        args_.partials.type);
    const size_t at = place(args_.result, tile.row, tile.col);
    block_.store_all(
        call_.size(),
        [&](int r) {
          return TilePlace{call_.data(r, at), width(), args_.type};
        },
        TilePlace{call_.data_everywhere(at), width(), args_.type}, sum, args_.epilogue);
    call_.signal_all(grid_.ids() + tile.id);
  }

  /// A row of the results through every row op, to all ranks.
  TW_FN void change(uint32_t r) {
    const uint32_t first = grid_.ids() + grid_.id(r / grid_.rows.step, 0);
    for (int s = 0; s < call_.size(); ++s) call_.wait_slots(s, first, grid_.cols.tiles());
    const Row row{args_.rows + static_cast<size_t>(block_.index()) * width(), width()};
    const size_t at = place(args_.result, r, 0), to = place(args_.changed, r, 0);
    const char* const own = call_.data(call_.rank(), at);
    block_.load(row, own, args_.type);
    block_.round(row, args_.type);
    const float scale = block_.sum(row) + block_.max(row) + block_.sum_of_squares(row);
    block_.load_sum(
        row, call_.size(), [&](int s) { return call_.data(s, at); }, call_.data_everywhere(at),
        args_.type);
    block_.add(row, own, args_.type);
    block_.multiply(row, args_.weight, args_.type);
    block_.scale(row, inverse_sqrt(scale));
    block_.activate(row, args_.epilogue.activation);
    block_.store_all(
        call_.size(), [&](int s) { return call_.data(s, to); }, call_.data_everywhere(to), row,
        args_.type);
    call_.signal_all(row_slot(r));
  }

  /// A changed row, copied to all ranks.
  TW_FN void copy(uint32_t r) {
    const size_t at = place(args_.changed, r, 0), to = place(args_.copied, r, 0);
    const size_t bytes = width() * element();
    block_.copy_all(
        call_.size(), [&](int s) { return call_.data(s, to); }, call_.data_everywhere(to), bytes,
        call_.data(call_.rank(), at), bytes, 1, bytes, call_.when(call_.rank(), row_slot(r)));
    call_.wait_all(row_slot(r));
    call_.signal_all(copy_slot(r));
  }

  Block& block_;
  const TileOpsArgs& args_;
  const TileGrid& grid_;
  TileCall<Block> call_;
};

template <class Block>
TW_FN void tile_ops(Block& block, const TileOpsArgs& args) {
  TileOps<Block>(block, args).run();
}
TW_TILE_KERNEL(tile_ops, TileOpsArgs)

}  // namespace TW_NS
