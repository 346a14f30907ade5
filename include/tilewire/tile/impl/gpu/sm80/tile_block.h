// The tile block on sm_80 and on what runs its PTX: 8 warps that have all roles and do op after op.
//
// Multiplication. `mma` asks for the images of its step (cp.async) and multiplies those that were
// asked for kStages - 1 steps before; ops that touch sums multiply what is left first. So two steps
// are on their way while one is multiplied. One barrier a step: it comes after this thread's copies
// of the oldest stage have landed, makes all threads' copies of it known to all, and says that the
// stage multiplied before, which the new copies overwrite, is read.
//
// Signals. A block barrier orders all threads' stores before the lanes that signal: each fences at
// system scope (cumulative) and stores its word. Waits: one thread polls relaxed and fences, a
// barrier orders the others.
//
// Waits are agreed on by all threads, so all take the same way; after a failure ops store nothing
// and loops end.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/gpu/copy.h"
#include "tilewire/tile/impl/gpu/slots.h"
#include "tilewire/tile/impl/gpu/sm80/memory.h"
#include "tilewire/tile/impl/gpu/sm80/multiply.h"
#include "tilewire/tile/impl/gpu/sum_role.h"
#include "tilewire/tile/impl/gpu/warp_copy.h"

namespace TW_NS {

/// All threads of the block.
struct Sm80Threads {
  TW_FN static void sync() { __syncthreads(); }
  TW_FN static bool all(bool ok) { return __syncthreads_and(ok) != 0; }
};

template <Element element>
class Sm80Block : public SumRole<element, Sm80Threads, TileRole<Sm80Block<element>, Sm80Memory>> {
  using Base = SumRole<element, Sm80Threads, TileRole<Sm80Block<element>, Sm80Memory>>;
  using Base::agree, Base::release;
  using Base::control_, Base::memory_, Base::ok_, Base::view_;

 public:
  using Base::Base;
  using Base::store;  // of attention
  using Sums = typename Base::Sums;

  // ---- Work ----

  TW_FN uint32_t take(int phase, uint32_t n) {
    if (!ok_) return n;
    __syncthreads();  // the last number has been read
    if (threadIdx.x == 0) {
      const uint64_t next = ptx::add_relaxed_gpu(&view_.counters->next[phase][0], 1);
      memory_.number = next < n ? static_cast<uint32_t>(next) : n;
    }
    __syncthreads();
    return memory_.number;
  }

  // ---- Sums ----

  TW_FN void mma(Sums& sum, const OperandAt& a, const OperandAt& b) {
    static_assert(element != Element::kNone, "a program that multiplies has `Operand a` in Args");
    come(b.ready);
    come(a.ready);
    if (!ok_) return;
    const int images = element == Element::kFp32 ? images_of(a) : 1;
#pragma unroll 1
    for (int image = 0; image < images; ++image) {
      const bool full = asked_ == kStages - 1;
      if (full) ptx::copy_async_wait<kStages - 2>();
      __syncthreads();
      char* const stage = memory_.stage[(oldest_ + asked_) % kStages];
#pragma unroll 1
      for (int side = 0; side < 2; ++side)  // one copy of a long piece of code
        copy_lines<kBlockThreads, true>(
            stage + side * kImageBytes,
            choose(side == 0, lines_of_a(a, sum.tile, image), lines_of_b(b, sum.tile, image)),
            this_thread());
      ptx::copy_async_commit();
      ++asked_;
      if (full) multiply_oldest(sum);
    }
  }

  template <class Partial>
  TW_FN void reduce(Sums& sum, int ranks, int self, Partial partial, tw_type_t type) {
    settle(sum);
    if (ok_ && warp_part(sum.tile, sum.only).rows != 0) add_slots(sum, ranks, self, partial, type);
  }

  TW_FN void store(const TilePlace& to, Sums& sum, const Epilogue& epilogue) {
    settle(sum);
    if (ok_ && to.data != nullptr) store_rows(to, region(), sum, epilogue);
  }

  template <class To>
  TW_FN void store_all(int n, To to, const TilePlace& /*everywhere*/, Sums& sum,
                       const Epilogue& epilogue) {
    settle(sum);
    if (!ok_) return;
    stage_rows(region(), sum, epilogue, n == 0 ? TW_FP32 : to(0).type);
    __syncwarp();
    const int first = tile_warp() * kWarpRows;
    const RowPart part = warp_part(sum.tile, sum.only);
#pragma unroll 1
    for (int i = 0; i < n; ++i) {
      const TilePlace place = to(i);
      if (place.data == nullptr) continue;
      const size_t stride = place.stride * element_bytes(place.type);
      const size_t bytes = sum.tile.cols * element_bytes(place.type);
      for (size_t r = part.first; r < part.first + part.rows; ++r)
        store_from_shared(place.data + (first + r - sum.only.first) * stride,
                          region() + r * kRegionRow, bytes);
    }
  }

  template <class Slot>
  TW_FN void put_all(int n, Slot slot, char* /*everywhere*/, const Sums& sum, tw_type_t type) {
    settle(const_cast<Sums&>(sum));  // products that have been asked for belong to it
    if (!ok_ || tile_warp() >= slot_parts(sum.tile)) return;
    const size_t part = static_cast<size_t>(tile_warp()) * slot_part(type);
#pragma unroll 1
    for (int i = 0; i < n; ++i) {
      char* const to = slot(i);
      if (to == nullptr) continue;
      for_chunks(sum, type, [&](int at, uint4 v) {
        *reinterpret_cast<uint4*>(in_global(to) + part + at) = v;
      });
    }
  }

  template <class Slot, class Part>
  TW_FN void put_parts(int n, Slot slot, Part part, const Sums& sum, tw_type_t type) {
    put_all(
        n, [&](int i) { return warp_part(sum.tile, part(i)).rows == 0 ? nullptr : slot(i); },
        nullptr, sum, type);
  }

  // ---- Attention ----

  TW_FN TileAttention attention(const AttentionTile& tile) { return Base::begin(tile, region()); }

  // ---- Bulk ----

  template <class To>
  TW_FN void copy_all(int n, To to, char* /*everywhere*/, size_t to_stride, const char* from,
                      size_t from_stride, size_t rows, size_t bytes, const Ready& when = {}) {
    come(when);
    const bool one_run = rows == 1 || (from_stride == bytes && to_stride == bytes);
#pragma unroll 1
    for (int i = 0; i < n && ok_; ++i) {
      char* const place = to(i);
      if (place == nullptr) continue;
      if (one_run)
        copy_run<kBlockThreads>(in_global(place), in_global(from), rows * bytes, this_thread());
      else
        copy_rows(place, to_stride, from, from_stride, rows, bytes, tile_warp(), kTileWarps);
    }
  }

  using Base::store_all;  // of rows

  // ---- Signals ----

  template <class Word>
  TW_FN void signal(At /*at*/, int n, Word word, uint64_t value) {
    __syncthreads();
    if (!ok_ || this_thread() >= n) return;
    uint64_t* const to = word(this_thread());
    if (to != nullptr) release(to, value);
  }

  template <class Word>
  TW_FN void raise(At /*at*/, uint64_t* count, uint64_t full, int n, Word word, uint64_t value) {
    __syncthreads();
    if (ok_ && tile_warp() == 0) Base::raise_by_warp(count, full, n, word, value);
  }

  TW_FN void announce(At /*at*/, CallRecord* to, const CallRecord& from, uint64_t* next,
                      uint64_t* entered, uint64_t epoch) {
    if (threadIdx.x != 0) return;
    write_record(to, from, next);
    release(entered, epoch);
  }
  template <class Line, class Payload>
  TW_FN void enter(At /*at*/, int n, Line line, uint64_t value, Payload payload) {
    __syncthreads();
    if (this_thread() >= n) return;
    FlagLine* const to = line(this_thread());
    write_payload(to, payload(this_thread()));
    release(&to->value, value);
  }
  TW_FN void finish(TileCounters* counters, uint64_t* epoch, uint64_t value) {
    ptx::copy_async_wait<0>();  // only after a failure are there any
    __syncthreads();
    if (threadIdx.x != 0) return;
    if (has_failed(control_))
      report(control_);
    else
      finish_launch(counters, epoch, value, this->blocks());
  }

 private:
  /// Waits for an operand; a word that has come is not asked for again.
  TW_FN void come(const Ready& when) {
    if (when.word == nullptr || (when.word == seen_ && when.value <= seen_value_)) return;
    this->wait(when.at, when);
    seen_ = when.word;
    seen_value_ = when.value;
  }

  TW_FN char* region() { return memory_.staging() + tile_warp() * kRegionBytes; }

  TW_FN void multiply_oldest(Sums& sum) {
    const char* const stage = memory_.stage[oldest_];
    if constexpr (element == Element::kFp32)
      multiply_fma(sum, stage);
    else
      multiply_matrix<element == Element::kBf16>(sum, stage);
    oldest_ = (oldest_ + 1) % kStages;
    --asked_;
  }

  /// Multiplies what has been asked for. Then the stages are free for results.
  TW_FN void settle(Sums& sum) {
    if constexpr (element == Element::kNone) return;
    ptx::copy_async_wait<0>();
    __syncthreads();
#pragma unroll 1
    while (asked_ != 0) multiply_oldest(sum);
    __syncthreads();
  }

  int oldest_ = 0, asked_ = 0;  // stages on their way
  const uint64_t* seen_ = nullptr;
  uint64_t seen_value_ = 0;
};

/// Runs `program(block)`. Every thread of the block calls it.
template <Element element, class Program>
TW_FN void run_roles(const char* name, const tw_tile_view& view, tw_type_t type,
                     const Program& program) {
  Sm80Memory& memory = block_memory();
  if (threadIdx.x == 0)
    open_control(memory.control, static_cast<int>(blockIdx.x), name, view.comm.wait);
  __syncthreads();
  run_sum_role<Sm80Block, element>(type, program, memory, view);
}

}  // namespace TW_NS
