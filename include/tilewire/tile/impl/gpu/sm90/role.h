// What all roles of an sm_90a block have in common, and the ops in which a role has no share: they
// only keep its place in the ring of stages. A role hides what it does.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/gpu/attention.h"
#include "tilewire/tile/impl/gpu/copy_plan.h"
#include "tilewire/tile/impl/gpu/sm90/memory.h"
#include "tilewire/tile/impl/gpu/tile_role.h"

namespace TW_NS {

template <class Self>
class Sm90Role : public TileRole<Self, Sm90Memory> {
 public:
  using TileRole<Self, Sm90Memory>::TileRole;

  TW_FN NoSums accumulator(const Tile& tile) { return {tile, all_rows(tile)}; }
  TW_FN void only_rows(NoSums& sum, const RowPart& part) { sum.only = part; }
  TW_FN void mma(NoSums& /*sum*/, const OperandAt& a, const OperandAt& /*b*/) {
    stages_.skip(images_of(a));
  }
  template <class Sum, class Partial>
  TW_FN void reduce(Sum& /*sum*/, int /*ranks*/, int /*self*/, Partial /*partial*/,
                    tw_type_t /*type*/) {}
  template <class Sum>
  TW_FN void store(const TilePlace& /*to*/, Sum& /*sum*/, const Epilogue& /*epilogue*/) {}
  template <class To, class Sum>
  TW_FN void store_all(int /*n*/, To /*to*/, const TilePlace& /*everywhere*/, Sum& /*sum*/,
                       const Epilogue& /*epilogue*/) {}
  template <class Slot, class Sum>
  TW_FN void put_all(int /*n*/, Slot /*slot*/, char* /*everywhere*/, const Sum& /*sum*/,
                     tw_type_t /*type*/) {}
  template <class Slot, class Part, class Sum>
  TW_FN void put_parts(int /*n*/, Slot /*slot*/, Part /*part*/, const Sum& /*sum*/,
                       tw_type_t /*type*/) {}
  template <class To>
  TW_FN void copy_all(int n, To to, char* everywhere, size_t to_stride, const char* from,
                      size_t from_stride, size_t rows, size_t bytes, const Ready& /*when*/ = {}) {
    stages_.skip(plan_copy(n, to, everywhere, to_stride, from, from_stride, rows, bytes).pieces);
  }

  TW_FN void load(const Row& /*row*/, const void* /*from*/, tw_type_t /*type*/) {}
  TW_FN void add(const Row& /*row*/, const void* /*from*/, tw_type_t /*type*/) {}
  template <class From>
  TW_FN void load_sum(const Row& /*row*/, int /*n*/, From /*from*/, const void* /*everywhere*/,
                      tw_type_t /*type*/) {}
  TW_FN void multiply(const Row& /*row*/, const void* /*by*/, tw_type_t /*type*/) {}
  TW_FN void scale(const Row& /*row*/, float /*by*/) {}
  TW_FN void activate(const Row& /*row*/, Activation /*activation*/) {}
  TW_FN void round(const Row& /*row*/, tw_type_t /*type*/) {}
  TW_FN float sum(const Row& /*row*/) { return 0; }
  TW_FN float sum_of_squares(const Row& /*row*/) { return 0; }
  TW_FN float max(const Row& /*row*/) { return 0; }
  TW_FN void set(const Row& /*row*/, size_t /*i*/, float /*value*/) {}
  TW_FN void rotate(const Row& /*row*/, const float* /*cosines*/, const float* /*sines*/) {}
  template <class To>
  TW_FN void store_all(int /*n*/, To /*to*/, char* /*everywhere*/, const Row& /*row*/,
                       tw_type_t /*type*/) {}

  TW_FN void allow(const Row& /*row*/, const uint32_t* /*bits*/, size_t /*first*/) {}
  TW_FN void exponentials(float* /*to*/, const Row& /*row*/, float /*from*/, float /*by*/) {}
  TW_FN double sum_of_exponentials(const Row& /*row*/, float /*from*/) { return 0; }
  TW_FN RowAbove above(const Row& /*row*/, const float* /*weights*/, float /*limit*/) {
    return {0, 0};
  }
  TW_FN size_t keep(float* /*to*/, float* /*to_weights*/, const Row& /*row*/,
                    const float* /*weights*/, float /*low*/, float /*high*/) {
    return 0;
  }
  TW_FN size_t find(const Row& row, float /*value*/, size_t /*skip*/) { return row.n; }
  template <class T>
  TW_FN void put(T* /*to*/, T /*value*/) {}

  TW_FN NoAttention attention(const AttentionTile& /*tile*/) { return {}; }
  template <class Sum>
  TW_FN void attend(Sum& /*sum*/, const AttentionKeys& /*keys*/, uint32_t /*split*/) {}
  template <class Sum>
  TW_FN void fold(Sum& /*sum*/) {}
  template <class Sum>
  TW_FN void put_partial(float* /*to*/, const Sum& /*sum*/) {}
  template <class Sum>
  TW_FN void take_partial(Sum& /*sum*/, const float* /*from*/) {}
  template <class Sum>
  TW_FN void store(const TilePlace& /*to*/, const Sum& /*sum*/) {}

  static constexpr bool kConsumes = false;
  static constexpr bool kFetchesAhead = false;  // the loader runs ahead
  TW_FN void consume_alone() {}
  TW_FN bool leads() const { return false; }
  TW_FN void bind_left(const ProgramWait* /*waits*/, uint32_t /*n*/, uint64_t /*value*/) {}
  template <class Word>
  TW_FN void raise(At /*at*/, uint64_t* /*count*/, uint64_t /*full*/, int /*n*/, Word /*word*/,
                   uint64_t /*value*/) {}
  TW_FN uint64_t clock() const { return 0; }

  template <class Word>
  TW_FN void signal(At /*at*/, int /*n*/, Word /*word*/, uint64_t /*value*/) {}
  TW_FN void wait(At /*at*/, const Ready& /*when*/) {}
  template <class When>
  TW_FN void wait_all(At /*at*/, uint32_t /*n*/, When /*when*/) {}

  TW_FN void announce(At /*at*/, CallRecord* /*to*/, const CallRecord& /*from*/, uint64_t* /*next*/,
                      uint64_t* /*entered*/, uint64_t /*epoch*/) {}
  template <class Line, class Payload>
  TW_FN void enter(At /*at*/, int /*n*/, Line /*line*/, uint64_t /*value*/, Payload /*payload*/) {}
  template <class Word, class Peer>
  TW_FN void meet(At /*at*/, int /*n*/, Word /*word*/, uint64_t /*value*/, Peer /*peer*/) {}
  TW_FN void report_mismatch(int /*peer*/, uint64_t /*got*/, uint64_t /*want*/) {}
  TW_FN void finish(TileCounters* /*counters*/, uint64_t* /*epoch*/, uint64_t /*value*/) {
    leave();
  }

 protected:
  /// All roles have done what they had to do when it returns. Order: all, block.
  TW_FN void leave() { ptx::barrier_sync(kWholeBlock, kBlockThreads); }

  StageCursor stages_;
  uint32_t number_at_ = 0, number_parity_ = 0;  // of the ring of numbers
};

}  // namespace TW_NS
