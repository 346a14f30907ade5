// The loader: one warp. It takes the numbers of loops, and fills stages.
//
// Waits of operands. The loader issues B for as many stages as are free and only then waits for the
// word of A: a stage whose A may not be read yet is `deferred`. Deferred operands are made up for,
// in order, before the loader waits for anything that the consumers must do first.
//
// Order. Lane 0 polls the word and fences (acquire), the warp barrier after it orders the others;
// then every lane makes its own `fence.proxy.async`: each issues bulk copies (copy_all), which read
// what peers' threads and bulk stores wrote. Images that lanes write are fenced by each of them
// (shared memory, for wgmma) before lane 0 arrives.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/gpu/ptx/bulk.h"
#include "tilewire/tile/impl/gpu/sm90/role.h"

namespace TW_NS {

class Sm90Loader : public Sm90Role<Sm90Loader> {
 public:
  using Sm90Role::Sm90Role;

  /// After a failure nothing is handed on: the others see that by themselves, and a number that
  /// some warps have not read yet is not overwritten.
  TW_FN uint32_t take(int phase, uint32_t n) {
    catch_up();
    const uint32_t i = number_at_;
    if (ok_)
      ok_ = agreed(wait_phase(control_, &memory_.number_empty[i], bit(number_parity_, i) ^ 1));
    if (!ok_) return n;
    uint32_t number = n;
    if (lane() == 0) {
      const uint64_t next = ptx::add_relaxed_gpu(&view_.counters->next[phase][0], 1);
      number = next < n ? static_cast<uint32_t>(next) : n;
      memory_.number[i] = number;
      ptx::mbarrier_arrive(&memory_.number_full[i]);
    }
    number_parity_ ^= 1u << i;
    number_at_ = (i + 1) % kNumbers;
    return __shfl_sync(~0u, number, 0);
  }

  TW_FN void mma(NoSums& sum, const OperandAt& a, const OperandAt& b) {
    const int images = images_of(a);
#pragma unroll 1
    for (int image = 0; image < images && ok_; ++image) {
      const uint32_t s = stages_.at;
      const bool free = is_free(s), b_has_come = come(b.ready);
      if (!free || !b_has_come) catch_up();
      if (!free) claim(s);
      if (!b_has_come) await(b.ready);
      if (!ok_) return;
      filled_ ^= 1u << s;
      load_stage(lines_of_a(a, sum.tile, image), lines_of_b(b, sum.tile, image), a.ready, s);
      stages_.next();
    }
  }

  template <class To>
  TW_FN void copy_all(int n, To to, char* everywhere, size_t to_stride, const char* from,
                      size_t from_stride, size_t rows, size_t bytes, const Ready& when = {}) {
    const CopyPlan plan = plan_copy(n, to, everywhere, to_stride, from, from_stride, rows, bytes);
    catch_up();
    if (plan.wanted && !plan.staged) return;  // the storer waits and copies
    if (!come(when)) await(when);
#pragma unroll 1
    for (uint32_t i = 0; i < plan.pieces && ok_; ++i) {
      if (!is_free(stages_.at)) claim(stages_.at);
      if (!ok_) return;
      const CopyPiece piece = plan.piece(i);
      uint64_t* const barrier = &memory_.in[stages_.at];
      passed_ ^= 1u << stages_.at;
      if (lane() == 0) ptx::mbarrier_arrive_expect(barrier, piece.rows * piece.bytes);
      __syncwarp();
#pragma unroll 1
      for (uint32_t r = lane(); r < piece.rows; r += 32)
        ptx::bulk_load(memory_.stage[stages_.at] + r * piece.bytes,
                       from + (piece.row + r) * plan.from_stride + piece.col, piece.bytes, barrier);
      stages_.next();
    }
  }

  /// Deferred operands wait for the list before.
  TW_FN void bind_left(const ProgramWait* waits, uint32_t n, uint64_t value) {
    if (deferred_ != 0) catch_up();
    bound_ = waits;
    bound_count_ = n;
    bound_value_ = value;
  }

  TW_FN void finish(TileCounters* counters, uint64_t* epoch, uint64_t value) {
    catch_up();
    leave();
    if (has_failed(control_)) {
      drain();
      if (lane() == 0) report(control_);
    } else if (lane() == 0) {
      finish_launch(counters, epoch, value, blocks());
    }
  }

 private:
  TW_FN static bool agreed(bool ok) { return __all_sync(~0u, ok) != 0; }

  /// After the block's last barrier: bulk copies into shared memory must have ended when the block
  /// does. Only after a failure can there be any. No thread has to arrive any more: these waits end
  /// with the copies that were issued, as `bulk_wait` does.
  TW_FN void drain() {
#pragma unroll 1
    for (uint32_t i = 0; i < deferred_; ++i)
      if (lane() == 0) ptx::mbarrier_arrive(&memory_.full[(deferred_from_ + i) % kStages]);
    __syncwarp();
#pragma unroll 1
    for (uint32_t s = 0; s < kStages; ++s) {
      while (!ptx::mbarrier_try_wait(&memory_.full[s], bit(filled_, s))) {
      }
      while (!ptx::mbarrier_try_wait(&memory_.in[s], bit(passed_, s))) {
      }
    }
  }

  // ---- Words of operands ----

  /// Whether `when` has come, without waiting.
  TW_FN bool come(const Ready& when) {
    if (when.word == nullptr) return true;
    if (when.word == seen_ && when.value <= seen_value_) return true;
    bool yes = false;
    if (lane() == 0) {
      yes = ptx::load_relaxed_sys(when.word) >= when.value;
      if (yes) ptx::fence_acq_rel_sys();
    }
    return note(when, yes);
  }

  TW_FN void await(const Ready& when) {
    if (!ok_) return;
    bool yes = true;
    if (lane() == 0) yes = poll_ready(control_, when);
    ok_ = note(when, yes);
  }

  /// The same for left operands, which also wait for the words of `bound_`. Each lane polls, and
  /// fences for, its own.
  TW_FN bool left_come(const Ready& when) {
    if (!come(when)) return false;
    if (bound_count_ == 0) return true;
    bool yes = true;
    for_bound([&](const uint64_t* word, const ProgramWait&) {
      yes = yes && ptx::load_relaxed_sys(word) >= bound_value_;
    });
    if (!agreed(yes)) return false;
    ptx::fence_acq_rel_sys();
    take_bound();
    return true;
  }
  TW_FN void await_left(const Ready& when) {
    if (!come(when)) await(when);
    if (!ok_ || bound_count_ == 0) return;
    bool yes = true;
    for_bound([&](const uint64_t* word, const ProgramWait& wait) {
      uint64_t got;
      yes = yes && poll_word(control_, word, bound_value_, 0, static_cast<int>(wait.sender),
                             wait.counter, got);
    });
    ok_ = agreed(yes);
    take_bound();
  }
  template <class F>
  TW_FN void for_bound(F f) const {
    const char* const own = view_.parts[view_.comm.rank];
#pragma unroll 1
    for (uint32_t i = lane(); i < bound_count_; i += 32) {
      const ProgramWait wait = bound_[i];
      f(reinterpret_cast<const uint64_t*>(
            own + view_.layout.word(static_cast<int>(wait.sender), wait.counter)),
        wait);
    }
  }
  TW_FN void take_bound() {
    __syncwarp();
    ptx::fence_proxy_async();  // before this lane's bulk copies
    bound_count_ = 0;
  }

  /// Lane 0 has acquired the word, or not.
  TW_FN bool note(const Ready& when, bool yes) {
    yes = __shfl_sync(~0u, yes, 0) != 0;
    __syncwarp();  // shuffles do not order memory
    if (!yes) return false;
    ptx::fence_proxy_async();  // before this lane's bulk copies
    seen_ = when.word;
    seen_value_ = when.value;
    return true;
  }

  // ---- Stages ----

  /// Whether whoever had the stage last has given it back; then it is ours.
  TW_FN bool is_free(uint32_t s) {
    return agreed(ptx::mbarrier_test_wait(&memory_.empty[s], bit(filled_, s)) &&
                  ptx::mbarrier_test_wait(&memory_.out[s], bit(passed_, s)));
  }

  TW_FN void claim(uint32_t s) {
    if (!ok_) return;
    const bool emptied = wait_phase(control_, &memory_.empty[s], bit(filled_, s));
    ok_ = agreed(wait_phase(control_, &memory_.out[s], bit(passed_, s)) && emptied);
  }

  // ---- Operands ----

  /// B at once, and A if it may be read. Else A is deferred when boxes bring it; images that lanes
  /// make are waited for. Deferred stages are neighbours in the ring, so none may be completed
  /// between two of them: an A without boxes makes up for them first, whether it has come or not.
  TW_FN void load_stage(const Lines& a, const Lines& b, const Ready& when, uint32_t stage) {
    const bool b_loaded = load_bulk(b, stage), boxes = has_boxes(a);
    if (!boxes && deferred_ != 0) catch_up();
    const bool a_has_come = deferred_ == 0 && left_come(when);
    if (!a_has_come && !boxes) await_left(when);
    if (a_has_come && boxes) load_boxes(a, stage, 0, map_of_a_);
#pragma unroll 1
    for (int side = 0; side < 2 && ok_; ++side)  // one copy of a long piece of code
      if (side == 0 ? !boxes : !b_loaded)
        load_elements(choose(side == 0, a, b), stage, side * kImageBytes);
    if (!ok_ || (!a_has_come && boxes)) return defer(a, when, stage);
    arrive(stage);
  }

  /// The stage has all that it waits for.
  TW_FN void arrive(uint32_t stage) {
    __syncwarp();  // the lanes' images
    if (lane() == 0) ptx::mbarrier_arrive(&memory_.full[stage]);
  }

  TW_FN void defer(const Lines& a, const Ready& when, uint32_t stage) {
    if (deferred_ == 0) deferred_from_ = stage;
    if (lane() == 0) memory_.deferred[stage] = {a, when};
    __syncwarp();
    ++deferred_;
  }

  TW_FN void catch_up() {
#pragma unroll 1
    while (deferred_ != 0 && ok_) {
      const uint32_t stage = deferred_from_;
      const Deferred& d = memory_.deferred[stage];
      if (!left_come(d.when)) await_left(d.when);
      if (!ok_) return;
      load_boxes(d.a, stage, 0, map_of_a_);
      arrive(stage);
      deferred_from_ = (stage + 1) % kStages;
      --deferred_;
    }
  }

  TW_FN void load_elements(const Lines& lines, uint32_t stage, int at) {
    copy_lines<32, false>(memory_.stage[stage] + at, lines, lane());
    ptx::fence_proxy_async_shared();
  }

  /// B by bulk copies, if that can be.
  TW_FN bool load_bulk(const Lines& b, uint32_t stage) {
    if (has_boxes(b)) {
      load_boxes(b, stage, kImageBytes, map_of_b_);
      return true;
    }
    if (b.of->layout != MatrixLayout::kPacked || !runs_aligned(b)) return false;
    load_runs(b, memory_.stage[stage] + kImageBytes, &memory_.full[stage]);
    return true;
  }

  TW_FN static bool has_boxes(const Lines& lines) {
    return lines.of->tensor_map != nullptr && lines.along_k();
  }

  /// By the tensor map, in boxes of 64 lines (kTensorMapLines).
  /// `last_map`: the map that was used last for this operand.
  TW_FN void load_boxes(const Lines& lines, uint32_t stage, int at, const void*& last_map) {
    if (lane() != 0) return;
    char* const image = memory_.stage[stage] + at;
    uint64_t* const barrier = &memory_.full[stage];
    const void* const map = lines.of->tensor_map;
    if (map != last_map) ptx::fence_tensor_map(map);
    last_map = map;
    static_assert(kTensorMapLines == kPairCols);
    const bool both = lines.paired || lines.count > kTensorMapLines;
    constexpr uint32_t kBox = kTensorMapLines * kLineBytes;
    ptx::mbarrier_expect(barrier, both ? 2 * kBox : kBox);
    const int32_t k = static_cast<int32_t>(lines.k);
    ptx::tensor_load(image, map, k, static_cast<int32_t>(lines.begin), barrier);
    if (both)
      ptx::tensor_load(image + kBox, map, k, static_cast<int32_t>(lines.line(kTensorMapLines)),
                       barrier);
  }

  /// Packed weights: lines of a packed tile are the lines of an image when both are at the same
  /// place in a group of 8. A run of lines that lie in one packed tile is one bulk copy.
  TW_FN static bool runs_aligned(const Lines& lines) {
    return lines.begin % 8 == 0 && (!lines.paired || lines.second % 8 == 0);
  }
  TW_FN void load_runs(const Lines& lines, char* image, uint64_t* barrier) {
    if (lane() != 0) return;
    load_run(lines, lines.begin, image, barrier);
    if (lines.paired) load_run(lines, lines.second, image + kPairCols * kLineBytes, barrier);
  }
  TW_FN void load_run(const Lines& lines, size_t line, char* image, uint64_t* barrier) {
    int left = lines.count;
#pragma unroll 1
    while (left > 0) {
      const int in_tile = kImageLines - static_cast<int>(line % kImageLines);
      const int run = left < in_tile ? left : in_tile;
      const uint32_t bytes = run * kLineBytes;
      const char* const from =
          static_cast<const char*>(lines.of->data) + packed_line(*lines.of, line, lines.k);
      ptx::mbarrier_expect(barrier, bytes);
      ptx::bulk_load(image, from, bytes, barrier);
      image += bytes;
      line += run;
      left -= run;
    }
  }

  // Bit s: of stage s: parity of its last use with operands, and with bytes to pass on. Before the
  // first there is nothing to wait for: the phase before a barrier's first has parity 1 and counts
  // as ended.
  uint32_t filled_ = ~0u, passed_ = ~0u;
  uint32_t deferred_ = 0, deferred_from_ = 0;  // how many, and the first one's stage
  const uint64_t* seen_ = nullptr;             // a word that has come, at that value
  uint64_t seen_value_ = 0;
  const ProgramWait* bound_ = nullptr;  // words of left operands, of which all have come
  uint32_t bound_count_ = 0;            // when this is 0
  uint64_t bound_value_ = 0;
  const void *map_of_a_ = nullptr, *map_of_b_ = nullptr;
};

}  // namespace TW_NS
