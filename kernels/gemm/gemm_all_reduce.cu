// C = epilogue(sum over ranks of A B) on every rank, optionally with RMSNorm of the finished rows.
//
// One shot (small M): every rank gets every partial tile and adds them all.
// Via the owner (large M): partial tiles go to the owner of their rows (or columns, where there is
// no norm), who adds, applies epilogue and norm, and gives finished tiles, or normed rows, to all:
// once. Own tiles, which are multiplied last, take the peers' partials at once; where tiles have
// rows of several owners, parts are added in a second loop, as everything in one shot.
#include "kernels/norm/rms_norm.h"
#include "tilewire/kernels/gemm.h"
#include "tilewire/tile/tile_call.h"
#include "tilewire/tile/tile_kernel.h"

namespace TW_NS {

template <class Block>
class GemmAllReduce {
 public:
  TW_FN GemmAllReduce(Block& block, const GemmAllReduceArgs& args)
      : block_(block),
        args_(args),
        grid_(args.grid),
        call_(block, args.tiles),
        one_shot_(args.path == ReducePath::kOneShot),
        normed_(args.norm.weight != nullptr),
        mixed_(!one_shot_ && grid_.cols.count == 1 && grid_.rows.count < args.owners.count) {}

  TW_FN void run() {
    for (const Tile tile : block_.tiles(grid_, 0)) {  // the next rank's first, the own ones last
      auto sum = block_.accumulator(tile);
      for (size_t k = 0; k < args_.a.cols; k += Block::kTileK)
        block_.mma(sum, args_.a.at(tile.row, k), args_.b.at(k, tile.col));
      meet();
      if (one_shot_) {
        give_all(tile, sum);
      } else if (mixed_ || own_part(tile).rows == 0) {
        give_owners(tile, sum);
      } else {
        call_.wait_peers(tile.id);
        add(tile, own_part(tile), sum, call_.rank());
      }
    }
    if (one_shot_ || mixed_)
      for (const Tile tile : block_.tiles(grid_, 1)) {
        const RowPart own = own_part(tile);
        if (own.rows == 0) continue;
        call_.wait_all(tile.id);
        auto sum = block_.accumulator(tile);
        add(tile, own, sum, /*self=*/-1);
      }
    if (normed_) norm();
    if (!one_shot_) take();
    call_.close();
  }

 private:
  /// Before a store to a peer, in whichever loop a block comes to the first.
  TW_FN void meet() { call_.meet(); }

  /// The part of a tile that `rank` finishes.
  TW_FN RowPart part_of(const Tile& tile, int rank) const {
    if (grid_.cols.count == 1) return row_part(args_.owners, rank, tile);
    return tile.col_owner == rank ? all_rows(tile) : RowPart{0, 0};
  }
  TW_FN RowPart own_part(const Tile& tile) const {
    return one_shot_ ? all_rows(tile) : part_of(tile, call_.rank());
  }

  template <class Sum>
  TW_FN void give_all(const Tile& tile, const Sum& sum) {
    const size_t at = args_.partials.at(call_.rank(), tile.id);
    block_.put_all(
        call_.size(), [&](int r) { return call_.data(r, at); }, call_.data_everywhere(at), sum,
        args_.partials.type);
    call_.signal_all(tile.id);
  }

  template <class Sum>
  TW_FN void give_owners(const Tile& tile, const Sum& sum) {
    const size_t at = args_.partials.at(call_.rank(), grid_.number(tile));
    block_.put_parts(
        call_.size(), [&](int r) { return call_.data(r, at); },
        [&](int r) { return part_of(tile, r); }, sum, args_.partials.type);
    call_.signal_those(tile.id, [&](int r) { return part_of(tile, r).rows != 0; });
  }

  /// Adds the partials of what this rank owns of a tile and gives the result to whom it concerns.
  template <class Sum>
  TW_FN void add(const Tile& tile, const RowPart& part, Sum& sum, int self) {
    block_.only_rows(sum, part);
    const size_t row = tile.row + part.first;
    block_.reduce(
        sum, call_.size(), self,
        [&](int r) { return call_.data(call_.rank(), args_.partials.at(r, grid_.number(tile))); },
        args_.partials.type);
    const Matrix& own = normed_ ? args_.norm.hidden : args_.c;
    if (!shares_tiles()) {
      block_.store(own.at(row, tile.col), sum, args_.epilogue);
      if (normed_) call_.signal(call_.rank(), grid_.ids() + tile.id);
      return;
    }
    meet();
    block_.store_all(
        call_.size(),
        [&](int i) {
          return i == 0 ? own.at(row, tile.col)
                        : result_at(call_.peer(i), normed_ ? 1 : 0).at(row, tile.col);
        },
        TilePlace{}, sum, args_.epilogue);
    call_.signal_all(grid_.ids() + tile.id);
  }

  /// Whether an owner gives finished tiles to all: of C, or of x beside the normed rows.
  TW_FN bool shares_tiles() const {
    return !one_shot_ && (!normed_ || args_.hidden.data != nullptr);
  }

  /// Matrix `i` (0: C, 1: hidden) of a peer: its window, or where the peer's private one is staged.
  TW_FN Matrix result_at(int peer, int i) const {
    const tw_type_t type = args_.c.type;
    const Matrix window = call_.out_of(peer, i, type);
    if (window.data != nullptr) return window;
    return {call_.data(peer, i == 0 ? args_.staged_c : args_.staged_hidden), width(), type};
  }
  TW_FN size_t width() const { return grid_.cols.total(); }

  /// Norms the rows that this rank has finished.
  TW_FN void norm() {
    const int self = call_.rank();
    const size_t first = one_shot_ ? 0 : args_.owners.begin[self];
    const size_t count = one_shot_ ? grid_.rows.total() : args_.owners.size(self);
    if (!one_shot_) meet();
    for (const uint32_t i : block_.items(static_cast<uint32_t>(count), 2)) {
      const size_t row = first + i;
      call_.wait_slots(self, grid_.ids() + grid_.id(grid_.rows.tile_of(row), 0),
                       grid_.cols.tiles());
      const int places = one_shot_ ? 1 : call_.size();
      norm_row(
          block_, args_.norm, row, width(), places,
          [&](int p) {
            return p == 0 ? args_.c.at(row, 0).data : result_at(call_.peer(p), 0).at(row, 0).data;
          },
          nullptr, args_.c.type);
      if (!one_shot_) call_.signal_all(2 * grid_.ids() + row);
    }
  }

  /// Waits for the peers' results; takes what did not come straight to where it belongs.
  TW_FN void take() {
    const int i = normed_ ? 1 : 0;  // whose tiles are shared
    const Matrix& to = normed_ ? args_.hidden : args_.c;
    if (shares_tiles())
      for (const Tile tile : block_.tiles(grid_, 3))
        for (int p = 1; p < call_.size(); ++p) {
          const int owner = call_.peer(p);
          const RowPart part = part_of(tile, owner);
          if (part.rows != 0)
            copy_in(to, i, tile.row + part.first, tile.col, part.rows, tile.cols,
                    call_.when(owner, grid_.ids() + tile.id));
        }
    if (!normed_) return;
    const uint32_t rows = static_cast<uint32_t>(grid_.rows.total());
    for (const uint32_t row : block_.items(rows, 4)) {
      const int owner = args_.owners.owner_of_element(row);
      if (owner != call_.rank())
        copy_in(args_.c, 0, row, 0, 1, width(), call_.when(owner, 2 * grid_.ids() + row));
    }
  }

  /// A part of matrix `i` from where it was staged, if it was.
  TW_FN void copy_in(const Matrix& to, int i, size_t row, size_t col, size_t rows, size_t cols,
                     const Ready& when) {
    const size_t element = to.element(), staged = i == 0 ? args_.staged_c : args_.staged_hidden;
    char* const place = args_.tiles.out[i].at == 0 ? to.at(row, col).data : nullptr;
    block_.copy_all(
        1, [&](int) { return place; }, nullptr, to.stride * element,
        call_.data(call_.rank(), staged + (row * width() + col) * element), width() * element, rows,
        cols * element, when);
  }

  Block& block_;
  const GemmAllReduceArgs& args_;
  const TileGrid& grid_;
  TileCall<Block> call_;
  const bool one_shot_, normed_;
  const bool mixed_;  // tiles have rows of several owners
};

template <class Block>
TW_FN void gemm_all_reduce(Block& block, const GemmAllReduceArgs& args) {
  GemmAllReduce<Block>(block, args).run();
}
TW_TILE_KERNEL(gemm_all_reduce, GemmAllReduceArgs)

}  // namespace TW_NS
