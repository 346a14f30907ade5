// The tile block on CPUs: one thread that has every role. Contracts: tile/tile_block.h.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "tilewire/tile/grid.h"
#include "tilewire/tile/impl/cpu/block.h"
#include "tilewire/tile/impl/cpu/tile_elements.h"
#include "tilewire/tile/matrix.h"
#include "tilewire/tile/packed.h"
#include "tilewire/tile_device.h"

namespace TW_NS {

TW_FN float inverse_sqrt(float x) { return 1.0f / std::sqrt(x); }

/// fp32 sums of a tile in the block's scratch, row by row.
struct CpuAccumulator {
  float* data;
  Tile tile;
  size_t cols;  // of both halves of a paired tile
  TW_FN float* row(size_t i) const { return data + i * cols; }
};

/// A test's hook: which signals and waits a block leaves out. This one leaves out none.
struct NoHook {
  static bool signals(const At& /*at*/) { return true; }
  static bool waits(const At& /*at*/) { return true; }
};

template <class Hook>
class CpuTileBlock {
 public:
  static constexpr size_t kTileK = kCpuTile.k, kTileRows = kCpuTile.rows, kTileCols = kCpuTile.cols;

  CpuTileBlock(int index, int blocks, const char* name, const tw_tile_view& view)
      : block_(index, blocks, name, view.comm.wait), view_(view) {}

  TW_FN int index() const { return block_.index(); }
  TW_FN int blocks() const { return block_.blocks(); }
  TW_FN const char* name() const { return block_.name(); }
  TW_FN bool ok() const { return ok_; }

  // ---- Work ----

  /// Numbers 0 .. n-1 that this block takes, for range-for; `Of` maps a number to what is asked for.
  template <class Of>
  class Loop {
   public:
    TW_FN Loop(CpuTileBlock& block, uint32_t n, int phase, Of of)
        : block_(block), n_(n), phase_(phase), of_(of) {}
    struct End {};
    class Iterator {
     public:
      TW_FN explicit Iterator(Loop& loop) : loop_(loop) { ++*this; }
      TW_FN Iterator& operator++() {
        number_ = loop_.block_.ok() ? loop_.block_.take(loop_.phase_) : loop_.n_;
        return *this;
      }
      TW_FN auto operator*() const { return loop_.of_(static_cast<uint32_t>(number_)); }
      TW_FN bool operator!=(End /*end*/) const { return number_ < loop_.n_; }

     private:
      Loop& loop_;
      uint64_t number_ = 0;
    };
    TW_FN Iterator begin() { return Iterator(*this); }
    TW_FN End end() const { return {}; }

   private:
    CpuTileBlock& block_;
    uint32_t n_;
    int phase_;
    Of of_;
  };

  TW_FN auto tiles(const TileGrid& grid, int phase) {
    const auto tile = [&grid](uint32_t i) { return grid.at(i); };
    return Loop<decltype(tile)>(*this, grid.tiles(), phase, tile);
  }
  TW_FN auto items(uint32_t n, int phase) {
    const auto item = [](uint32_t i) { return i; };
    return Loop<decltype(item)>(*this, n, phase, item);
  }

  // ---- Sums ----

  TW_FN CpuAccumulator accumulator(const Tile& tile) {
    const CpuAccumulator sum{sums(), tile, tile.pair == 0 ? tile.cols : 2 * tile.cols};
    for (size_t i = 0; i < tile.rows * sum.cols; ++i) sum.data[i] = 0;
    return sum;
  }

  TW_FN void mma(CpuAccumulator& sum, const OperandAt& a, const OperandAt& b) {
    if (!come(b.ready) || !come(a.ready)) return;
    const size_t left = a.of->cols - a.col;
    const size_t steps = left < kTileK ? left : kTileK;
    for (size_t i = 0; i < sum.tile.rows; ++i) {
      float* const row = sum.row(i);
      for (size_t k = 0; k < steps; ++k) {
        const float x = element_of(*a.of, a.row + i, a.col + k);
        for (size_t j = 0; j < sum.tile.cols; ++j)
          row[j] += x * element_of(*b.of, b.row + k, b.col + j);
        if (sum.tile.pair == 0) continue;
        for (size_t j = 0; j < sum.tile.cols; ++j)
          row[sum.tile.cols + j] += x * element_of(*b.of, b.row + k, sum.tile.pair + b.col + j);
      }
    }
  }

  template <class Partial>
  TW_FN void reduce(CpuAccumulator& sum, int ranks, int self, Partial partial, tw_type_t type) {
    const size_t n = sum.tile.rows * sum.cols;
    for (size_t i = 0; i < n; ++i) {
      float total = 0;
      for (int r = 0; r < ranks; ++r) {
        const float x = r == self ? rounded(sum.data[i], type) : load_element(partial(r), i, type);
        total = r == 0 ? x : total + x;
      }
      sum.data[i] = rounded(total, type);
    }
  }

  TW_FN void store(const TilePlace& to, CpuAccumulator& sum, const Epilogue& epilogue) {
    if (to.data == nullptr || !ok_) return;
    for (size_t i = 0; i < sum.tile.rows; ++i)
      for (size_t j = 0; j < sum.tile.cols; ++j)
        store_element(to.data, i * to.stride + j, result(sum, i, j, epilogue), to.type);
  }

  template <class To>
  TW_FN void store_all(int n, To to, const TilePlace& /*everywhere*/, CpuAccumulator& sum,
                       const Epilogue& epilogue) {
    for (int i = 0; i < n; ++i) store(to(i), sum, epilogue);
  }

  template <class Slot>
  TW_FN void put_all(int n, Slot slot, char* /*everywhere*/, const CpuAccumulator& sum,
                     tw_type_t type) {
    for (int s = 0; ok_ && s < n; ++s) {
      char* const to = slot(s);
      for (size_t i = 0; to != nullptr && i < sum.tile.rows * sum.cols; ++i)
        store_element(to, i, sum.data[i], type);
    }
  }

  // ---- Bulk ----

  template <class To>
  TW_FN void copy_all(int n, To to, char* /*everywhere*/, size_t to_stride, const char* from,
                      size_t from_stride, size_t rows, size_t bytes, const Ready& when = {}) {
    if (!come(when)) return;
    for (int p = 0; p < n; ++p) {
      char* const place = to(p);
      for (size_t i = 0; place != nullptr && i < rows; ++i)
        block_.store(place + i * to_stride, from + i * from_stride, bytes, view_.store);
    }
  }

  // ---- Rows ----

  TW_FN void load(const Row& row, const void* from, tw_type_t type) {
    for (size_t i = 0; ok_ && i < row.n; ++i) row.data[i] = load_element(from, i, type);
  }
  TW_FN void add(const Row& row, const void* from, tw_type_t type) {
    for (size_t i = 0; ok_ && i < row.n; ++i) row.data[i] += load_element(from, i, type);
  }
  template <class From>
  TW_FN void load_sum(const Row& row, int n, From from, const void* /*everywhere*/,
                      tw_type_t type) {
    load(row, from(0), type);
    for (int r = 1; r < n; ++r) add(row, from(r), type);
  }
  TW_FN void multiply(const Row& row, const void* by, tw_type_t type) {
    for (size_t i = 0; ok_ && i < row.n; ++i) row.data[i] *= load_element(by, i, type);
  }
  TW_FN void scale(const Row& row, float by) {
    for (size_t i = 0; i < row.n; ++i) row.data[i] *= by;
  }
  TW_FN void activate(const Row& row, Activation activation) {
    for (size_t i = 0; i < row.n; ++i) row.data[i] = activated(row.data[i], activation);
  }
  TW_FN void round(const Row& row, tw_type_t type) {
    for (size_t i = 0; i < row.n; ++i) row.data[i] = rounded(row.data[i], type);
  }
  TW_FN float sum(const Row& row) {
    float total = 0;
    for (size_t i = 0; i < row.n; ++i) total += row.data[i];
    return total;
  }
  TW_FN float sum_of_squares(const Row& row) {
    float total = 0;
    for (size_t i = 0; i < row.n; ++i) total += row.data[i] * row.data[i];
    return total;
  }
  TW_FN float max(const Row& row) {
    float most = row.data[0];
    for (size_t i = 1; i < row.n; ++i) most = row.data[i] > most ? row.data[i] : most;
    return most;
  }
  template <class To>
  TW_FN void store_all(int n, To to, char* /*everywhere*/, const Row& row, tw_type_t type) {
    for (int p = 0; ok_ && p < n; ++p) {
      char* const place = to(p);
      for (size_t i = 0; place != nullptr && i < row.n; ++i)
        store_element(place, i, row.data[i], type);
    }
  }

  // ---- Signals ----

  template <class Word>
  TW_FN void signal(At at, int n, Word word, uint64_t value) {
    if (!Hook::signals(at)) return;
    for (int i = 0; ok_ && i < n; ++i) block_.publish(Site::kSignal, word(i), value);
  }

  TW_FN void wait(At at, const Ready& when) {
    if (ok_ && Hook::waits(at)) ok_ = block_.wait(when.word, when.value, when.peer, when.index);
  }

  // ---- For TileCall ----

  TW_FN void announce(CallRecord* to, const CallRecord& from, uint64_t* next, uint64_t* entered,
                      uint64_t epoch) {
    block_.record(to, from, next);
    block_.publish(Site::kEntered, entered, epoch);
  }
  template <class Line, class Payload>
  TW_FN void enter(At at, int n, Line line, uint64_t value, Payload payload) {
    if (Hook::signals(at)) block_.signal(Site::kEntry, n, line, value, payload);
  }
  template <class Word, class Peer>
  TW_FN void meet(At at, int n, Word word, uint64_t value, Peer peer) {
    if (ok_ && Hook::waits(at)) ok_ = block_.wait_digest_all(n, word, value, peer);
  }
  TW_FN void report_mismatch(int peer, uint64_t got, uint64_t want) {
    block_.report_mismatch(peer, got, want);
    ok_ = false;
  }
  TW_FN void finish(TileCounters* counters, uint64_t* epoch, uint64_t value) {
    if (!ok_ || !block_.whole() || !block_.last(&counters->finished)) return;
    for (auto& next : counters->next) __atomic_store_n(&next[0], 0, __ATOMIC_RELAXED);
    block_.set(epoch, value);
  }

 private:
  TW_FN uint64_t take(int phase) {
    return __atomic_fetch_add(&view_.counters->next[phase][0], 1, __ATOMIC_RELAXED);
  }
  TW_FN bool come(const Ready& when) {
    if (when.word != nullptr) wait(when.at, when);
    return ok_;
  }
  TW_FN float* sums() const {
    return reinterpret_cast<float*>(view_.scratch +
                                    static_cast<size_t>(index()) * view_.scratch_bytes);
  }

  TW_FN float result(const CpuAccumulator& sum, size_t i, size_t j, const Epilogue& e) const {
    const size_t col = sum.tile.col + j;
    float x = sum.row(i)[j];
    if (e.bias != nullptr) x += load_element(e.bias, col, e.type);
    if (e.activation == Activation::kSwiGlu) {
      float up = sum.row(i)[sum.tile.cols + j];
      if (e.bias != nullptr) up += load_element(e.bias, sum.tile.pair + col, e.type);
      x = activated(x, Activation::kSilu) * up;
    } else {
      x = activated(x, e.activation);
    }
    if (e.residual.data != nullptr)
      x += load_element(e.residual.at(sum.tile.row + i - e.first_row, col).data, 0, e.type);
    return x;
  }

  CpuBlock<Site::kNone> block_;
  const tw_tile_view& view_;
  bool ok_ = true;
};

using TileBlock = CpuTileBlock<NoHook>;

}  // namespace TW_NS
