// The storer: one warp. It carries staged results and copied bytes to other memory, and signals.
//
// Complete, then signal. Bulk stores belong to the lane that issued them: every lane waits until
// its own are complete (`bulk_wait`, not `.read`: that says only that the source was read), which
// makes what they wrote known to it as if it had stored it. After the warp barrier each lane that
// has a word fences at system scope and stores the word. The fence is cumulative over the barrier,
// and over the mbarrier by which consumers handed their own stores on. Where stores go through a
// multicast address each lane that makes them has a `fence.proxy.alias` before its first and, after
// the last that is announced, another.
//
// PTX defines no bulk store to a multicast address: there lanes store from registers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/gpu/ptx/bulk.h"
#include "tilewire/tile/impl/gpu/slots.h"
#include "tilewire/tile/impl/gpu/sm90/role.h"
#include "tilewire/tile/impl/gpu/warp_copy.h"

namespace TW_NS {

class Sm90Storer : public Sm90Role<Sm90Storer> {
 public:
  using Sm90Role::Sm90Role;

  TW_FN uint32_t take(int /*phase*/, uint32_t n) {
    const uint32_t i = number_at_;
    if (!await(&memory_.number_full[i], bit(number_parity_, i))) return n;
    const uint32_t number = memory_.number[i];
    arrive(&memory_.number_empty[i]);
    number_parity_ ^= 1u << i;
    number_at_ = (i + 1) % kNumbers;
    return number;
  }

  // ---- Results ----

  TW_FN void store(const TilePlace& /*to*/, NoSums& /*sum*/, const Epilogue& /*epilogue*/) {
    consumers_went_on_ = true;
  }

  template <class To>
  TW_FN void store_all(int n, To to, const TilePlace& everywhere, NoSums& sum,
                       const Epilogue& /*epilogue*/) {
    const int cols = static_cast<int>(sum.tile.cols);
    take_staged();
    bool sent = false;
    if (ok_ && everywhere.data != nullptr) {
      const size_t element = element_bytes(everywhere.type);
      const bool whole = all_aligned(everywhere.data, everywhere.stride * element, cols * element);
      if (whole) {
        enter_alias();
        for (size_t r = 0; r < sum.only.rows; ++r)
          send_everywhere(everywhere.data + r * everywhere.stride * element,
                          staged_row(sum.only.first + r), static_cast<int>(cols * element));
      }
      sent = whole;
    }
#pragma unroll 1
    for (int i = 0; i < n && ok_ && !sent; ++i) send_rows(to(i), sum.only, cols);
    give_back_staged();
  }

  template <class Slot>
  TW_FN void put_all(int n, Slot slot, char* everywhere, const NoSums& sum, tw_type_t type) {
    const int part = slot_part(type), parts = slot_parts(sum.tile);
    take_staged();
    if (ok_ && everywhere != nullptr) {
      enter_alias();
      for (int w = 0; w < parts; ++w)
        send_everywhere(everywhere + w * part, memory_.staging + w * kRegionBytes, part);
    } else if (ok_) {
#pragma unroll 1
      for (int i = lane(); i < n * parts; i += 32) {
        char* const to = slot(i / parts);
        const int w = i % parts;
        if (to != nullptr) ptx::bulk_store(to + w * part, memory_.staging + w * kRegionBytes, part);
      }
    }
    give_back_staged();
  }

  template <class Slot, class Part>
  TW_FN void put_parts(int n, Slot slot, Part part, const NoSums& sum, tw_type_t type) {
    const uint32_t bytes = slot_part(type), parts = slot_parts(sum.tile);
    take_staged();
#pragma unroll 1
    for (uint32_t i = lane(); ok_ && i < n * parts; i += 32) {
      const uint32_t w = i % parts;
      const RowPart rows = part(static_cast<int>(i / parts));
      if (rows.rows != 0 && rows.first < (w + 1) * kWarpRows &&
          w * kWarpRows < rows.first + rows.rows)
        ptx::bulk_store(slot(static_cast<int>(i / parts)) + w * bytes,
                        memory_.staging + w * kRegionBytes, bytes);
    }
    give_back_staged();
  }

  // ---- Bulk ----

  template <class To>
  TW_FN void copy_all(int n, To to, char* everywhere, size_t to_stride, const char* from,
                      size_t from_stride, size_t rows, size_t bytes, const Ready& when = {}) {
    const CopyPlan plan = plan_copy(n, to, everywhere, to_stride, from, from_stride, rows, bytes);
    if (plan.wanted && !plan.staged) {
      acquire(when);
      for (int i = 0; i < n && ok_; ++i)
        if (to(i) != nullptr)
          copy_rows(to(i), plan.to_stride, from, plan.from_stride, plan.rows, plan.bytes, 0, 1);
      return;
    }
    const bool at_once =
        everywhere != nullptr && all_aligned(everywhere, plan.to_stride, plan.bytes);
#pragma unroll 1
    for (uint32_t i = 0; i < plan.pieces; ++i) {
      const uint32_t s = stages_.at;
      await(&memory_.in[s], bit(in_parity_, s));
      in_parity_ ^= 1u << s;
      const CopyPiece piece = plan.piece(i);
      const size_t offset = piece.row * plan.to_stride + piece.col;
      if (ok_ && at_once) {
        enter_alias();
        for (uint32_t r = 0; r < piece.rows; ++r)
          send_everywhere(everywhere + offset + r * plan.to_stride,
                          memory_.stage[s] + r * piece.bytes, static_cast<int>(piece.bytes));
      }
      for (int p = 0; p < n && ok_ && !at_once; ++p)
        if (to(p) != nullptr) send_piece(to(p) + offset, plan.to_stride, memory_.stage[s], piece);
      end_reads();
      arrive(&memory_.out[s]);
      stages_.next();
    }
  }

  template <class To>
  TW_FN void store_all(int /*n*/, To /*to*/, char* /*everywhere*/, const Row& /*row*/,
                       tw_type_t /*type*/) {
    consumers_went_on_ = true;
  }

  // ---- Signals ----

  TW_FN void wait(At /*at*/, const Ready& /*when*/) { consumers_waited(); }
  template <class When>
  TW_FN void wait_all(At /*at*/, uint32_t /*n*/, When /*when*/) {
    consumers_waited();
  }

  TW_FN void consume_alone() { consumers_waited(); }
  TW_FN void put_partial(float* /*to*/, const NoAttention& /*sum*/) { consumers_went_on_ = true; }
  TW_FN void store(const TilePlace& /*to*/, const NoAttention& /*sum*/) {
    consumers_went_on_ = true;
  }
  template <class T>
  TW_FN void put(T* /*to*/, T /*value*/) {
    consumers_went_on_ = true;
  }

  template <class Word>
  TW_FN void signal(At /*at*/, int n, Word word, uint64_t value) {
    complete();
    if (!ok_ || lane() >= n) return;  // n <= kMaxFusedRanks
    uint64_t* const to = word(lane());
    if (to != nullptr) release(to, value);
  }

  template <class Word>
  TW_FN void raise(At /*at*/, uint64_t* count, uint64_t full, int n, Word word, uint64_t value) {
    complete();
    if (ok_) raise_by_warp(count, full, n, word, value);
  }

  TW_FN void announce(At /*at*/, CallRecord* to, const CallRecord& from, uint64_t* next,
                      uint64_t* entered, uint64_t epoch) {
    if (lane() != 0) return;
    write_record(to, from, next);
    release(entered, epoch);
  }

  template <class Line, class Payload>
  TW_FN void enter(At /*at*/, int n, Line line, uint64_t value, Payload payload) {
    __syncwarp();
    if (lane() >= n) return;
    FlagLine* const to = line(lane());
    write_payload(to, payload(lane()));
    release(&to->value, value);
  }

  template <class Word, class Peer>
  TW_FN void meet(At /*at*/, int n, Word word, uint64_t value, Peer peer) {
    if (!ok_) return;
    bool come = true;
    if (lane() < n) come = poll_entry(control_, word(lane()), value, peer(lane()));
    agree(come);
    ptx::fence_proxy_async();  // bulk stores may overwrite what the peers' threads read
  }

  TW_FN void report_mismatch(int peer, uint64_t got, uint64_t want) {
    if (lane() == 0) give_up(control_, TW_ERROR_MISMATCH, peer, 0, want, got);
    ok_ = false;
  }

  TW_FN void finish(TileCounters* /*counters*/, uint64_t* /*epoch*/, uint64_t /*value*/) {
    ptx::bulk_wait();
    leave();
  }

 private:
  TW_FN void agree(bool ok) {
    ok_ = __all_sync(~0u, ok_ && ok) != 0;
    __syncwarp();  // votes do not order memory
  }

  /// Also false when the phase has ended but the block has failed: consumers that knew of it handed
  /// on what is no result.
  TW_FN bool await(uint64_t* barrier, uint32_t parity) {
    const bool ended = wait_phase(control_, barrier, parity);
    agree(ended && !has_failed(control_));
    return ok_;
  }

  TW_FN void arrive(uint64_t* barrier) {
    __syncwarp();
    if (lane() == 0) ptx::mbarrier_arrive(barrier);
  }

  TW_FN void acquire(const Ready& when) {
    if (!ok_ || when.word == nullptr) return;
    bool come = true;
    if (lane() == 0) come = poll_ready(control_, when);
    agree(come);
  }

  TW_FN void enter_alias() {
    if (!aliased_) ptx::fence_proxy_alias();
    aliased_ = true;
  }

  /// All that any role stored before is known to this warp. What other roles made of a failure
  /// came after they knew of it, so that it is seen here: nothing is announced then.
  TW_FN void complete() {
    if (consumers_went_on_) {
      consumers_went_on_ = false;
      await(&memory_.handed, handed_parity_);
      handed_parity_ ^= 1;
      arrive(&memory_.unhanded);
    }
    ptx::bulk_wait();
    if (aliased_) ptx::fence_proxy_alias();
    agree(!has_failed(control_));
  }

  // ---- Staging ----

  TW_FN const char* staged_row(size_t row) const { return memory_.staging + row * kRegionRow; }

  /// What consumers waited for before, readers of the place among it, comes before bulk stores.
  TW_FN void take_staged() {
    await(&memory_.staged, staged_parity_);
    staged_parity_ ^= 1;
    if (waited_) ptx::fence_proxy_async();
    waited_ = false;
  }

  TW_FN void give_back_staged() {
    end_reads();
    arrive(&memory_.unstaged);
  }

  /// This lane's bulk stores have read their sources; and what lanes read themselves may be
  /// overwritten by bulk copies.
  TW_FN void end_reads() {
    ptx::bulk_commit();
    ptx::bulk_wait_read();
    ptx::fence_proxy_async_shared();
  }

  TW_FN static bool all_aligned(const void* p, size_t stride, size_t bytes) {
    return aligned(p, 16) && stride % 16 == 0 && bytes % 16 == 0;
  }

  TW_FN void send_everywhere(char* to, const char* from, int bytes) {
    for (int i = lane() * 16; i < bytes; i += 32 * 16)
      ptx::store_everywhere_weak(to + i, *reinterpret_cast<const uint4*>(from + i));
  }

  TW_FN void send_rows(const TilePlace& to, const RowPart& part, int cols) {
    if (to.data == nullptr) return;
    const size_t element = element_bytes(to.type), stride = to.stride * element;
    const uint32_t bytes = static_cast<uint32_t>(cols * element);
    if (all_aligned(to.data, stride, bytes)) {
      for (size_t r = lane(); r < part.rows; r += 32)
        ptx::bulk_store(to.data + r * stride, staged_row(part.first + r), bytes);
    } else {
      for (size_t r = 0; r < part.rows; ++r)
        store_from_shared(to.data + r * stride, staged_row(part.first + r), bytes);
    }
  }

  TW_FN void send_piece(char* to, size_t stride, const char* stage, const CopyPiece& piece) {
    if (all_aligned(to, stride, piece.bytes)) {
      for (uint32_t r = lane(); r < piece.rows; r += 32)
        ptx::bulk_store(to + r * stride, stage + r * piece.bytes, piece.bytes);
    } else {
      for (uint32_t r = 0; r < piece.rows; ++r)
        store_from_shared(to + r * stride, stage + r * piece.bytes, piece.bytes);
    }
  }

  TW_FN void consumers_waited() { consumers_went_on_ = waited_ = true; }

  uint32_t in_parity_ = 0;  // bit s: of stage s
  uint32_t staged_parity_ = 0, handed_parity_ = 0;
  bool consumers_went_on_ = false;  // they stored or waited since the last signal
  bool waited_ = false;             // they waited since bulk stores were last made
  bool aliased_ = false;            // stored through a multicast address in this launch
};

}  // namespace TW_NS
