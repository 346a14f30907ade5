// x = sum over ranks of input + residual; C = RMSNorm(x) on every rank, and x itself where wanted.
// One shot: every rank gets all rows of all ranks. Via the owner: rows go to their owners, who give
// the finished rows to all.
//
// Signal slots: row tile t: its rows have come. row tiles + r: finished row r has come.
#include "kernels/norm/rms_norm.h"
#include "tilewire/kernels/gemm.h"
#include "tilewire/tile/tile_call.h"
#include "tilewire/tile/tile_kernel.h"

namespace TW_NS {

template <class Block>
class AllReduceNorm {
 public:
  TW_FN AllReduceNorm(Block& block, const AllReduceNormArgs& args)
      : block_(block),
        args_(args),
        rows_(args.grid.rows),
        call_(block, args.tiles),
        one_shot_(args.path == ReducePath::kOneShot),
        owner_(one_shot_ ? 0 : call_.rank()) {}

  TW_FN void run() {
    for (const Tile tile : block_.tiles(args_.grid, 0)) give(tile);
    if (!one_shot_) call_.meet();
    for (const uint32_t i : block_.items(count(rows_.size(owner_)), 1)) finish(i);
    if (!one_shot_) take();
    call_.close();
  }

 private:
  TW_FN size_t width() const { return args_.grid.cols.total(); }
  /// Rows of no columns are no work.
  TW_FN uint32_t count(size_t rows) const { return width() == 0 ? 0 : static_cast<uint32_t>(rows); }
  TW_FN size_t row_bytes() const { return width() * args_.input.element(); }

  /// Rows of `sender` at whoever adds them: all of them, or the owner's.
  TW_FN size_t partial_at(int sender, size_t row_of_owner) const {
    return args_.partials + static_cast<size_t>(sender) * args_.sender_bytes +
           row_of_owner * row_bytes();
  }

  /// A tile of own rows to those who add them.
  TW_FN void give(const Tile& tile) {
    const int self = call_.rank();
    const size_t at = partial_at(self, tile.row - rows_.begin[tile.row_owner]);
    const bool to_all = one_shot_;
    call_.meet();
    block_.copy_all(
        to_all ? call_.size() : 1,
        [&](int r) { return call_.data(to_all ? r : tile.row_owner, at); },
        to_all ? call_.data_everywhere(at) : nullptr, row_bytes(), args_.input.at(tile.row, 0).data,
        args_.input.stride * args_.input.element(), tile.rows, row_bytes());
    if (to_all)
      call_.signal_all(tile.row_tile);
    else
      call_.signal(tile.row_owner, tile.row_tile);
  }

  /// Adds, norms and gives away row `i` of those that this rank finishes.
  TW_FN void finish(uint32_t i) {
    const tw_type_t type = args_.input.type;
    const size_t r = rows_.begin[owner_] + i;
    call_.wait_all(rows_.tile[owner_] + i / rows_.step);
    const Row row{args_.rows + static_cast<size_t>(block_.index()) * width(), width()};
    block_.load_sum(
        row, call_.size(),
        [&](int sender) { return call_.data(call_.rank(), partial_at(sender, i)); }, nullptr, type);
    block_.round(row, type);
    if (args_.residual != nullptr) {
      const size_t at = r * args_.residual_stride * args_.input.element();
      block_.add(row, static_cast<const char*>(args_.residual) + at, type);
      block_.round(row, type);
    }
    const int places = one_shot_ ? 1 : call_.size();
    if (args_.hidden.data != nullptr)
      block_.store_all(
          places, [&](int p) { return row_at(args_.hidden, p, 1, r); }, nullptr, row, type);
    const float mean = block_.sum_of_squares(row) / static_cast<float>(width());
    block_.scale(row, inverse_sqrt(mean + args_.eps));
    block_.multiply(row, args_.weight, type);
    block_.store_all(
        places, [&](int p) { return row_at(args_.c, p, 0, r); }, nullptr, row, type);
    if (!one_shot_) call_.signal_all(rows_.tiles() + r);
  }

  /// Row `r` of matrix `i` here (p == 0) or at the p-th peer: its window, or its staging.
  TW_FN char* row_at(const Matrix& own, int p, int i, size_t r) const {
    if (p == 0) return own.at(r, 0).data;
    const int peer = call_.peer(p);
    const Matrix window = call_.out_of(peer, i, own.type);
    if (window.data != nullptr) return window.at(r, 0).data;
    return call_.data(peer, (i == 0 ? args_.staged_c : args_.staged_hidden) + r * row_bytes());
  }

  /// Waits for the rows that peers finished; takes them from staging where memory is private.
  TW_FN void take() {
    for (const uint32_t r : block_.items(count(rows_.total()), 2)) {
      const int owner = rows_.owner_of_element(r);
      if (owner == call_.rank()) continue;
      const Ready when = call_.when(owner, rows_.tiles() + r);
      copy_in(args_.c, 0, args_.staged_c, r, when);
      copy_in(args_.hidden, 1, args_.staged_hidden, r, when);
    }
  }
  TW_FN void copy_in(const Matrix& to, int i, size_t staged, size_t r, const Ready& when) {
    char* const place = args_.tiles.out[i].at == 0 ? to.at(r, 0).data : nullptr;
    block_.copy_all(
        1, [&](int) { return place; }, nullptr, row_bytes(),
        call_.data(call_.rank(), staged + r * row_bytes()), row_bytes(), 1, row_bytes(), when);
  }

  Block& block_;
  const AllReduceNormArgs& args_;
  const Segments& rows_;
  TileCall<Block> call_;
  const bool one_shot_;
  const int owner_;  // the row segment that this rank finishes
};

template <class Block>
TW_FN void all_reduce_residual_rms_norm(Block& block, const AllReduceNormArgs& args) {
  AllReduceNorm<Block>(block, args).run();
}
TW_TILE_KERNEL(all_reduce_residual_rms_norm, AllReduceNormArgs)

}  // namespace TW_NS
