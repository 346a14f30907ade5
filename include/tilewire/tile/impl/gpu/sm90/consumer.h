// The consumer: two warpgroups, each with 64 rows of a tile. It multiplies, adds and finishes, and
// does the row ops.
//
// `mma` leaves one group of wgmma running: the stage before is given back when the next group has
// been issued and the one before it has ended. Ops that touch sums wait for the last group first.
//
// All 256 threads take the same way. So what decides about it (numbers of loops, failed waits) is
// agreed on by a barrier of all, and no wait on an mbarrier changes anything by itself.
//
// Partial tiles that `reduce` reads: at the peer, bulk stores wrote them (its async proxy); it
// waited for their completion, which makes them known to its threads, fenced at system scope and
// raised the word. Here one thread acquired that word and a barrier ordered all others: plain loads
// see them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/gpu/epilogue.h"
#include "tilewire/tile/impl/gpu/fma.h"
#include "tilewire/tile/impl/gpu/ptx/bulk.h"
#include "tilewire/tile/impl/gpu/ptx/wgmma.h"
#include "tilewire/tile/impl/gpu/slots.h"
#include "tilewire/tile/impl/gpu/sm90/role.h"
#include "tilewire/tile/impl/gpu/sum_role.h"

namespace TW_NS {

/// All threads of the two warpgroups.
struct Sm90Consumers {
  TW_FN static void sync() { ptx::barrier_sync(kConsumers, kTileThreads); }
  TW_FN static bool all(bool ok) { return ptx::barrier_and(kConsumers, kTileThreads, ok); }
};

template <Element element>
class Sm90Consumer : public SumRole<element, Sm90Consumers, Sm90Role<Sm90Consumer<element>>> {
  using Base = SumRole<element, Sm90Consumers, Sm90Role<Sm90Consumer<element>>>;
  using Base::agree;
  using Base::control_, Base::memory_, Base::ok_, Base::stages_, Base::number_at_,
      Base::number_parity_;

 public:
  using Base::Base;
  using Sums = typename Base::Sums;
  static constexpr bool kMatrix = element == Element::kBf16 || element == Element::kFp16;

  TW_FN uint32_t take(int /*phase*/, uint32_t n) {
    const uint32_t i = number_at_;
    const bool come = wait_phase(control_, &memory_.number_full[i], bit(number_parity_, i));
    const uint32_t number = memory_.number[i];
    agree(come);
    arrive(&memory_.number_empty[i]);
    number_parity_ ^= 1u << i;
    number_at_ = (i + 1) % kNumbers;
    return ok_ ? number : n;
  }

  // ---- Sums ----

  TW_FN void mma(Sums& sum, const OperandAt& a, const OperandAt& /*b*/) {
    static_assert(element != Element::kNone, "a program that multiplies has `Operand a` in Args");
    const int images = element == Element::kFp32 ? images_of(a) : 1;
#pragma unroll 1
    for (int i = 0; i < images; ++i) {
      const uint32_t s = stages_.at;
      wait_phase(control_, &memory_.full[s], bit(full_parity_, s));
      full_parity_ ^= 1u << s;
      multiply_stage(sum, s);
      stages_.next();
    }
  }

  template <class Partial>
  TW_FN void reduce(Sums& sum, int ranks, int self, Partial partial, tw_type_t type) {
    settle(sum);
    if (ok_ && warp_part(sum.tile, sum.only).rows != 0) add_slots(sum, ranks, self, partial, type);
  }

  TW_FN void store(const TilePlace& to, Sums& sum, const Epilogue& epilogue) {
    settle(sum);
    announce_later_ = true;
    if (take_staging() && to.data != nullptr) store_rows(to, region(), sum, epilogue);
  }

  /// Rows of the result, each at the start of its place in the region; the storer sends them.
  template <class To>
  TW_FN void store_all(int n, To to, const TilePlace& everywhere, Sums& sum,
                       const Epilogue& epilogue) {
    settle(sum);
    if (take_staging()) stage_rows(region(), sum, epilogue, n == 0 ? everywhere.type : to(0).type);
    give_staging();
  }

  template <class Slot>
  TW_FN void put_all(int /*n*/, Slot /*slot*/, char* /*everywhere*/, const Sums& sum,
                     tw_type_t type) {
    settle(const_cast<Sums&>(sum));  // a multiplication may still be writing it
    const bool ok = take_staging();
    char* const to = region();
    if (ok && tile_warp() < slot_parts(sum.tile))
      for_chunks(sum, type, [&](int at, uint4 v) { *reinterpret_cast<uint4*>(to + at) = v; });
    give_staging();
  }

  template <class Slot, class Part>
  TW_FN void put_parts(int n, Slot slot, Part /*part*/, const Sums& sum, tw_type_t type) {
    put_all(n, slot, nullptr, sum, type);
  }

  template <class To>
  TW_FN void store_all(int n, To to, char* everywhere, const Row& row, tw_type_t type) {
    announce_later_ = true;
    Base::store_all(n, to, everywhere, row, type);
  }

  // ---- Attention: totals lie in the staging memory, which this role has until it gives it on ----

  TW_FN TileAttention attention(const AttentionTile& tile) {
    take_staging();
    return Base::begin(tile, region());
  }
  TW_FN void put_partial(float* to, const TileAttention& sum) {
    announce_later_ = true;
    Base::put_partial(to, sum);
  }
  TW_FN void store(const TilePlace& to, const TileAttention& sum) {
    announce_later_ = true;
    Base::store(to, sum);
  }

  template <class T>
  TW_FN void put(T* to, T value) {
    announce_later_ = true;
    Base::put(to, value);
  }

  // ---- Signals ----

  /// What was waited for must have come before the storer's next signal.
  template <class When>
  TW_FN void wait_all(At at, uint32_t n, When when) {
    announce_later_ = true;
    Base::wait_all(at, n, when);
  }
  TW_FN void wait(At at, const Ready& when) {
    wait_all(at, 1, [&](uint32_t) { return when; });
  }

  /// The storer signals; it is told when this role has stored, or waited for, something itself.
  template <class Word>
  TW_FN void signal(At /*at*/, int /*n*/, Word /*word*/, uint64_t /*value*/) {
    hand_on();
  }
  template <class Word>
  TW_FN void raise(At /*at*/, uint64_t* /*count*/, uint64_t /*full*/, int /*n*/, Word /*word*/,
                   uint64_t /*value*/) {
    hand_on();
  }
  TW_FN void consume_alone() { announce_later_ = true; }

 private:
  TW_FN void hand_on() {
    if (!announce_later_) return;
    announce_later_ = false;
    wait_phase(control_, &memory_.unhanded, unhanded_parity_);
    unhanded_parity_ ^= 1;
    arrive(&memory_.handed);
  }

  /// This warp's arrival, after what all its lanes did.
  TW_FN void arrive(uint64_t* barrier) {
    __syncwarp();
    if (lane() == 0) ptx::mbarrier_arrive(barrier);
  }

  // ---- Staging ----

  /// Where it is is found anew each time: registers are few.
  TW_FN char* region() { return memory_.staging + ptx::unknown(tile_warp()) * kRegionBytes; }

  /// Waits until the storer has read what it was given. False, in all lanes: the block has failed,
  /// and sums may lack what was waited for; the storer, told after this, leaves them too.
  TW_FN bool take_staging() {
    wait_phase(control_, &memory_.unstaged, unstaged_parity_);
    return __all_sync(~0u, ok_ && !has_failed(control_)) != 0;
  }

  /// Each lane's writes reach the storer's bulk stores.
  TW_FN void give_staging() {
    ptx::fence_proxy_async_shared();
    arrive(&memory_.staged);
    unstaged_parity_ ^= 1;
  }

  // ---- Multiplication ----

  /// The sums are complete and may be read; the last stage is given back.
  TW_FN void settle(Sums& sum) {
    if constexpr (kMatrix) {
      ptx::wgmma_wait(sum.d);
      if (held_ >= 0) arrive(&memory_.empty[held_]);
      held_ = -1;
    }
  }

  TW_FN void multiply_stage(Sums& sum, uint32_t s) {
    const char* const stage = memory_.stage[s];
    if constexpr (kMatrix) {
      const uint64_t a =
          ptx::wgmma_matrix(stage + static_cast<size_t>(threadIdx.x / 128) * 64 * kLineBytes);
      const uint64_t b = ptx::wgmma_matrix(stage + kImageBytes);
      ptx::wgmma_fence();
#pragma unroll
      for (int k = 0; k < kLineBytes / 32; ++k) {
        if constexpr (element == Element::kBf16)
          ptx::wgmma_bf16(sum.d, a + 2 * k, b + 2 * k);
        else
          ptx::wgmma_fp16(sum.d, a + 2 * k, b + 2 * k);
      }
      ptx::wgmma_commit();
      ptx::wgmma_wait_but_one();
      if (held_ >= 0) arrive(&memory_.empty[held_]);
      held_ = static_cast<int>(s);
    } else {
      multiply_fma(sum, stage);
      ptx::fence_proxy_async_shared();  // what was read is overwritten by bulk copies
      arrive(&memory_.empty[s]);
    }
  }

  uint32_t full_parity_ = 0;     // bit s: of stage s
  int held_ = -1;                // the stage that the running group reads, or none
  bool announce_later_ = false;  // this role has stored or waited since the last signal
  // Of the storer's last answer. Before the first there is nothing to wait for: the phase before a
  // barrier's first has parity 1 and counts as ended.
  uint32_t unstaged_parity_ = 1, unhanded_parity_ = 1;
};

}  // namespace TW_NS
