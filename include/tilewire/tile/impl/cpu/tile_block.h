// The tile block on CPUs: one thread that has every role. Contracts: tile/tile_block.h.
#pragma once

#include <time.h>

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "tilewire/tile/grid.h"
#include "tilewire/tile/impl/cpu/block.h"
#include "tilewire/tile/impl/cpu/mma_vector.h"
#include "tilewire/tile/impl/cpu/tile_attention.h"
#include "tilewire/tile/impl/cpu/tile_epilogue.h"
#include "tilewire/tile/impl/cpu/tile_left.h"
#include "tilewire/tile/impl/cpu/tile_lines.h"
#include "tilewire/tile/impl/cpu/tile_pack.h"
#include "tilewire/tile/impl/cpu/tile_scratch.h"
#include "tilewire/tile/impl/cpu/tile_select.h"
#include "tilewire/tile/impl/cpu/tile_slots.h"
#include "tilewire/tile/matrix.h"
#include "tilewire/tile/packed.h"
#include "tilewire/tile_device.h"

#if defined(TW_TARGET_CPU_AMX)
#include "tilewire/tile/impl/cpu/mma_amx.h"
#endif

namespace TW_NS {

TW_FN float inverse_sqrt(float x) { return 1.0f / std::sqrt(x); }
TW_FN float exponential_of(float x) { return exponential<float, uint32_t>(x); }
TW_FN float logarithm_of(float x) { return logarithm(x); }

/// A test's hook: which signals and waits a block leaves out, and which releases are none. This one
/// leaves out nothing.
struct NoHook {
  static constexpr Site kRelaxed = Site::kNone;
  static bool signals(const At& /*at*/) { return true; }
  static bool waits(const At& /*at*/) { return true; }
};

template <class Hook>
class CpuTileBlock {
 public:
  static constexpr size_t kTileK = kCpuTile.k, kTileRows = kCpuTile.rows, kTileCols = kCpuTile.cols;

  CpuTileBlock(int index, int blocks, const char* name, const tw_tile_view& view)
      : block_(index, blocks, name, view.comm.wait),
        view_(view),
        scratch_(view.scratch + static_cast<size_t>(index) * view.scratch_bytes),
        left_(scratch_, view.scratch_bytes) {}

  TW_FN int index() const { return block_.index(); }
  TW_FN int blocks() const { return block_.blocks(); }
  TW_FN const char* name() const { return block_.name(); }
  TW_FN bool ok() const { return ok_; }

  // ---- Work ----

  /// Numbers 0 .. n-1 that this block takes, for range-for; `Of` maps a number to what is asked.
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

  TW_FN auto tiles(TilePart part, int phase) {
    const auto tile = [part](uint32_t i) { return part.at(i); };
    return Loop<decltype(tile)>(*this, part.tiles(), phase, tile);
  }
  TW_FN auto items(uint32_t n, int phase) {
    const auto item = [](uint32_t i) { return i; };
    return Loop<decltype(item)>(*this, n, phase, item);
  }

  // ---- Sums ----

  TW_FN CpuAccumulator accumulator(const Tile& tile) {
    float* const sums = reinterpret_cast<float*>(scratch_ + TileScratch::kSums);
    return {{sums, sums + TileScratch::kHalfSums / sizeof(float)},
            tile,
            all_rows(tile),
            divide_up(tile.rows, 16) * 16,
            {0, 0},
            true};
  }

  TW_FN void mma(CpuAccumulator& sum, const OperandAt& a, const OperandAt& b) {
    if (!come(b.ready) || !come(a.ready) || !go_on()) return;
    if (a.col < sum.added) return;
    const size_t left = a.of->cols - a.col;
    if constexpr (kBf16Products) {
      if (a.of->type == TW_BF16 && b.of->type == TW_BF16) return multiply_bf16(sum, a, b, left);
    }
    const size_t ks = left < kTileK ? left : kTileK;
    const float* const rows = left_.template step<float>(*a.of, a.row, sum.tile.rows, a.col, ks);
    multiply(sum, {rows, kTileK, 0, sum.tile.rows, false}, ks, b, /*bf16=*/false);
  }

  TW_FN void only_rows(CpuAccumulator& sum, const RowPart& part) { sum.only = part; }

  template <class Partial>
  TW_FN void reduce(CpuAccumulator& sum, int ranks, int self, Partial partial, tw_type_t type) {
    if (!go_on(sum)) return;
    sum.zero = false;
    with_type(type, [&](auto t) {
      each_run(sum, sum.only, [&](float* x, size_t at, size_t n) {
        const char* from[kMaxFusedRanks] = {};
        for (int r = 0; r < ranks; ++r) from[r] = r == self ? nullptr : partial(r) + at * t.kBytes;
        add_partials<t.kType>(x, n, from, ranks);
      });
    });
  }

  TW_FN void store(const TilePlace& to, CpuAccumulator& sum, const Epilogue& epilogue) {
    if (to.data == nullptr || !go_on(sum)) return;
    if (epilogue.empty() && sum.skip[0] == 0) return store_sums(to, sum);
    SumLines lines(sum, scratch_);
    for (size_t i = 0; i < sum.only.rows; ++i)
      store_line(to.data + i * to.stride * type_bytes(to.type),
                 lines.result(sum.only.first + i, epilogue), to.type, sum.tile.cols);
  }

  template <class To>
  TW_FN void store_all(int n, To to, const TilePlace& /*everywhere*/, CpuAccumulator& sum,
                       const Epilogue& epilogue) {
    if (!go_on(sum)) return;
    if (epilogue.empty() && sum.skip[0] == 0 && view_.store != StorePolicy::kNonTemporal) {
      for (int p = 0; p < n; ++p)
        if (const TilePlace place = to(p); place.data != nullptr) store_sums(place, sum);
      return;
    }
    SumLines lines(sum, scratch_);
    for (size_t i = 0; i < sum.only.rows; ++i) {
      const float* const line = lines.result(sum.only.first + i, epilogue);
      for (int p = 0; p < n; ++p) {
        const TilePlace place = to(p);
        if (place.data == nullptr) continue;
        char* const at = place.data + i * place.stride * type_bytes(place.type);
        give_line(at, line, place.type, sum.tile.cols);
      }
    }
  }

  template <class Slot>
  TW_FN void put_all(int n, Slot slot, char* /*everywhere*/, const CpuAccumulator& sum,
                     tw_type_t type) {
    if (!go_on(sum)) return;
    CpuAccumulator same = sum;
    each_run(same, all_rows(sum.tile), [&](const float* x, size_t at, size_t count) {
      for (int p = 0; p < n; ++p)
        if (char* const to = slot(p)) give_line(to + at * type_bytes(type), x, type, count);
    });
  }

  template <class Slot, class Part>
  TW_FN void put_parts(int n, Slot slot, Part part, const CpuAccumulator& sum, tw_type_t type) {
    if (!go_on(sum)) return;
    CpuAccumulator same = sum;
    for (int p = 0; p < n; ++p)
      if (const RowPart rows = part(p); rows.rows != 0)
        each_run(same, rows, [&, to = slot(p)](const float* x, size_t at, size_t count) {
          give_line(to + at * type_bytes(type), x, type, count);
        });
  }

  // ---- Attention ----

  TW_FN CpuAttention attention(const AttentionTile& tile) {
    return begin_attention(tile, scratch_);
  }
  TW_FN void attend(CpuAttention& sum, const AttentionKeys& keys, uint32_t split) {
    if (!go_on()) return;
    SplitWork(sum, keys, split, [&](const MmaStep& s) {
      if constexpr (kBf16Products)
        multiply_bf16(s);
      else
        multiply_vectors<WidenedBf16>(s);
    }).run();
  }
  TW_FN void fold(CpuAttention& sum) {
    if (ok_) fold_split(sum);
  }
  TW_FN void put_partial(float* to, const CpuAttention& sum) {
    if (ok_) put_lines(to, sum);
  }
  TW_FN void take_partial(CpuAttention& sum, const float* from) {
    if (ok_) take_lines(sum, from);
  }
  TW_FN void store(const TilePlace& to, const CpuAttention& sum) {
    if (ok_) store_attention(to, sum);
  }

  // ---- Bulk ----

  template <class To>
  TW_FN void copy_all(int n, To to, char* /*everywhere*/, size_t to_stride, const char* from,
                      size_t from_stride, size_t rows, size_t bytes, const Ready& when = {}) {
    if (!come(when)) return;
    const bool gaps = bytes != to_stride || bytes != from_stride;
    const size_t pieces = gaps ? rows : 1, piece = gaps ? bytes : rows * bytes;
    for (int p = 0; p < n; ++p) {
      char* const place = to(p);
      for (size_t i = 0; place != nullptr && i < pieces && go_on(); ++i)
        block_.store(place + i * to_stride, from + i * from_stride, piece, view_.store);
    }
  }

  // ---- Rows ----

  TW_FN void load(const Row& row, const void* from, tw_type_t type) {
    if (ok_) load_line(row.data, from, type, row.n);
  }
  TW_FN void add(const Row& row, const void* from, tw_type_t type) {
    if (ok_) add_line(row.data, from, type, row.n);
  }
  template <class From>
  TW_FN void load_sum(const Row& row, int n, From from, const void* /*everywhere*/,
                      tw_type_t type) {
    load(row, from(0), type);
    for (int r = 1; r < n; ++r) add(row, from(r), type);
  }
  TW_FN void multiply(const Row& row, const void* by, tw_type_t type) {
    if (ok_) multiply_line(row.data, by, type, row.n);
  }
  TW_FN void scale(const Row& row, float by) { scale_line(row.data, by, row.n); }
  TW_FN void activate(const Row& row, Activation activation) {
    activate_line(row.data, activation, row.n);
  }
  TW_FN void round(const Row& row, tw_type_t type) { round_line(row.data, type, row.n); }
  TW_FN float sum(const Row& row) {
    return sum_line(row.data, row.n, [](Floats x) { return x; });
  }
  TW_FN float sum_of_squares(const Row& row) {
    return sum_line(row.data, row.n, [](Floats x) { return x * x; });
  }
  TW_FN float max(const Row& row) { return most_of_line(row.data, row.n); }
  TW_FN void set(const Row& row, size_t i, float value) { row.data[i] = value; }
  TW_FN void rotate(const Row& row, const float* cosines, const float* sines) {
    rotate_line(row.data, cosines, sines, row.n / 2);
  }
  template <class To>
  TW_FN void store_all(int n, To to, char* /*everywhere*/, const Row& row, tw_type_t type) {
    for (int p = 0; ok_ && p < n; ++p)
      if (char* const place = to(p)) give_line(place, row.data, type, row.n);
  }

  // ---- Choosing from rows ----

  TW_FN void allow(const Row& row, const uint32_t* bits, size_t first) {
    allow_line(row.data, bits, first, row.n);
  }
  TW_FN void exponentials(float* to, const Row& row, float from, float by) {
    exponential_line(to, row.data, from, by, row.n);
  }
  TW_FN double sum_of_exponentials(const Row& row, float from) {
    return sum_of_exponential_line(row.data, from, row.n);
  }
  TW_FN RowAbove above(const Row& row, const float* weights, float limit) {
    const auto [count, weight] = above_line(row.data, weights, limit, row.n);
    return {count, weight};
  }
  TW_FN size_t keep(float* to, float* to_weights, const Row& row, const float* weights, float low,
                    float high) {
    return keep_line(to, to_weights, row.data, weights, low, high, row.n);
  }
  TW_FN size_t find(const Row& row, float value, size_t skip) {
    return find_in_line(row.data, value, skip, row.n);
  }
  template <class T>
  TW_FN void put(T* to, T value) {
    if (ok_) *to = value;
  }

  // ---- Signals ----

  template <class Word>
  TW_FN void signal(At at, int n, Word word, uint64_t value) {
    if (!Hook::signals(at)) return;
    for (int i = 0; ok_ && i < n; ++i)
      if (uint64_t* const to = word(i)) block_.publish(Site::kSignal, to, value);
  }

  TW_FN void wait(At at, const Ready& when) {
    if (ok_ && Hook::waits(at)) ok_ = block_.wait(when.word, when.value, when.peer, when.index);
  }
  template <class When>
  TW_FN void wait_all(At at, uint32_t n, When when) {
    for (uint32_t i = 0; i < n; ++i) wait(at, when(i));
  }

  // ---- For programs ----

  template <class Word>
  TW_FN void raise(At at, uint64_t* count, uint64_t full, int n, Word word, uint64_t value) {
    if (ok_ && Hook::signals(at) && block_.count_to(full, count)) signal(at, n, word, value);
  }
  static constexpr bool kFetchesAhead = true;
  TW_FN void fetch(const char* data, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(data + i, 0, 2);
  }
  TW_FN bool has_come(const Ready& when) { return block_.load(when.word) >= when.value; }
  static constexpr bool kConsumes = true;
  TW_FN void consume_alone() {}
  TW_FN bool leads() const { return true; }
  TW_FN void bind_left(const ProgramWait* /*waits*/, uint32_t /*n*/, uint64_t /*value*/) {}
  TW_FN void forget() { left_.forget(); }
  TW_FN static uint64_t clock() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
  }

  // ---- For TileCall ----

  TW_FN void announce(At at, CallRecord* to, const CallRecord& from, uint64_t* next,
                      uint64_t* entered, uint64_t epoch) {
    if (!Hook::signals(at)) return;
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
    block_.complete();  // streamed stores that no signal came after
    if (!ok_ || !block_.whole() || !block_.last(&counters->finished)) return;
    for (auto& next : counters->next) __atomic_store_n(&next[0], 0, __ATOMIC_RELAXED);
    ++counters->launches;
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
  /// False, and the block has failed, when the comm has ended: asked before each long work.
  TW_FN bool go_on() {
    ok_ = ok_ && block_.go_on();
    return ok_;
  }
  /// As above, before the sums are read.
  TW_FN bool go_on(const CpuAccumulator& sum) {
    if (!go_on()) return false;
    if (sum.zero) clear(sum);
    return true;
  }
  TW_FN static constexpr size_t type_bytes(tw_type_t type) { return packed_element(type); }

  /// The sums themselves, rounded, of a tile that begins with a panel.
  TW_FN static void store_sums(const TilePlace& to, const CpuAccumulator& sum) {
    with_type(to.type, [&](auto t) {
      for (size_t i = 0; i < sum.only.rows; ++i)
        for (size_t j = 0; j < sum.tile.cols; j += kPanelCols) {
          const size_t left = sum.tile.cols - j, n = left < kPanelCols ? left : kPanelCols;
          const float* const from = sum.row(0, j / kPanelCols, sum.only.first + i);
          char* const at = to.data + (i * to.stride + j) * t.kBytes;
          for_lanes(n, [&](size_t l, size_t lanes) {
            store_some<t.kType>(at + l * t.kBytes, load_vector<Floats>(from + l), lanes);
          });
        }
    });
  }

  /// A line to memory that peers may read, as the store policy says.
  TW_FN void give_line(char* to, const float* line, tw_type_t type, size_t n) {
    if (view_.store != StorePolicy::kNonTemporal) return store_line(to, line, type, n);
    constexpr size_t kPart = 256;
    alignas(64) char part[kPart * sizeof(float)];
    for (size_t i = 0; i < n; i += kPart) {
      const size_t count = n - i < kPart ? n - i : kPart;
      store_line(part, line + i, type, count);
      block_.store(to + i * type_bytes(type), part, count * type_bytes(type), view_.store);
    }
  }

  /// Rows of A as the multiply step reads them: of the tile, from `first`.
  struct LeftPart {
    const void* data;
    size_t stride, first, rows;
    bool again;  // B was read for other rows just now
  };

#if defined(TW_TARGET_CPU_AMX)
  /// Tile registers take rows with any stride: so a short K is one step, which moves the sums once,
  /// and rows that are in order are multiplied where they lie.
  TW_FN void multiply_bf16(CpuAccumulator& sum, const OperandAt& a, const OperandAt& b,
                           size_t left) {
    constexpr size_t kInL1 = 40 << 10;  // of A, with B passing by
    const size_t rows = sum.tile.rows;
    const bool whole = a.col == 0 && b.of->layout == MatrixLayout::kPacked &&
                       a.ready.word == nullptr && b.ready.word == nullptr &&
                       left * 2 * (rows < 32 ? rows : 32) <= kInL1;
    const size_t ks = whole || left < kTileK ? left : kTileK;
    const size_t stride = whole ? padded_k(left) : kTileK;
    const bool in_place = a.of->layout == MatrixLayout::kRows &&
                          b.of->layout == MatrixLayout::kPacked && rows >= 64 &&
                          ks % kPackedK == 0 &&
                          a.of->stride * 2 / 64 % 16 != 0;  // not all rows in a few sets of L1
    const size_t there = in_place ? rows / 32 * 32 : 0;
    const bool first = sum.zero;
    if (there != 0) {
      const auto* const data = static_cast<const uint16_t*>(a.of->data);
      multiply(sum, {data + a.row * a.of->stride + a.col, a.of->stride, 0, there, false}, ks, b,
               true);
    }
    if (there < rows) {
      sum.zero = first;
      const uint16_t* const data =
          left_.template step<uint16_t>(*a.of, a.row + there, rows - there, a.col, ks, stride);
      multiply(sum, {data, stride, there, rows - there, there != 0}, ks, b, true);
    }
    if (whole) sum.added = left;
  }
#else
  TW_FN void multiply_bf16(CpuAccumulator& sum, const OperandAt& a, const OperandAt& b,
                           size_t left) {
    const size_t ks = left < kTileK ? left : kTileK;
    const auto* const rows = left_.template step<uint16_t>(*a.of, a.row, sum.tile.rows, a.col, ks);
    multiply(sum, {rows, kTileK, 0, sum.tile.rows, false}, ks, b, true);
  }
#endif

  TW_FN void multiply(CpuAccumulator& sum, const LeftPart& a, size_t ks, const OperandAt& b,
                      bool bf16) {
    for (int h = 0; h < sum.halves(); ++h) {
      const size_t col = b.col + (h == 0 ? 0 : sum.tile.pair);
      const bool packed = b.of->layout == MatrixLayout::kPacked;
      MmaStep s{};
      s.a = a.data;
      s.a_stride = a.stride;
      s.rows = a.rows;
      s.again = a.again;
      s.ks = ks;
      sum.skip[h] = packed ? col % kPanelCols : 0;
      s.panels = sum.panels(h);
      if (packed) {
        s.panel_bytes = panel_bytes(b.of->rows, b.of->type);
        const bool last = b.row + ks >= b.of->rows;              // then: the tile beside this one
        const bool stream = b.row == 0 && last && a.rows <= 32;  // panels follow each other
        const size_t row_bytes = kPanelCols * packed_element(b.of->type);
        s.ahead =
            last && !stream ? s.panels * s.panel_bytes - b.row * row_bytes : kTileK * row_bytes;
        s.b = packed_columns(*b.of, col, sum.tile.cols).data + b.row * row_bytes;
      } else {
        s.panel_bytes = panel_bytes(kTileK, b.of->type);
        s.ahead = 0;
        char* const to = scratch_ + TileScratch::kRightStep;
        pack_right(to, s.panel_bytes, *b.of, b.row, col, ks, sum.tile.cols);
        s.b = to;
      }
      // NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): `accumulator` has set both halves
      s.sums = sum.half[h] + a.first * kPanelCols;
      s.panel_rows = sum.panel_rows;
      s.first = sum.zero;
      if (bf16)
        multiply_bf16(s);
      else
        multiply_widened(s, b.of->type);
    }
    sum.zero = false;
  }

  TW_FN void multiply_bf16(const MmaStep& s) {
#if defined(TW_TARGET_CPU_AMX)
    tiles_.multiply(s);
#elif defined(__AVX512BF16__) && defined(TW_TARGET_VECTOR_512)
    multiply_vectors<DotBf16>(s);
#else
    static_cast<void>(s);
#endif
  }
  TW_FN void multiply_widened(const MmaStep& s, tw_type_t type) {
    switch (type) {
      case TW_BF16:
        return multiply_vectors<WidenedBf16>(s);
      case TW_FP16:
        return multiply_vectors<Widened<TW_FP16>>(s);
      default:
        return multiply_vectors<Widened<TW_FP32>>(s);
    }
  }

  CpuBlock<Hook::kRelaxed> block_;
  const tw_tile_view& view_;
  char* const scratch_;
  LeftRows left_;
#if defined(TW_TARGET_CPU_AMX)
  AmxTiles tiles_;
#endif
  bool ok_ = true;
};

using TileBlock = CpuTileBlock<NoHook>;

}  // namespace TW_NS
