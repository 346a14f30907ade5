// What a block's roles share on sm_90a, and how they pass things on.
//
// Every hand-over is a pair of mbarriers, `full` and `empty` by whatever name; both sides walk the
// program in the same order and keep the parity of each barrier themselves. Nobody gets a phase
// ahead: who fills waits for `empty` of the last use first.
//
//   full, empty          a stage with operands, loader -> consumers. full: the loader's one arrival
//                        and the bytes that bulk copies bring; empty: one arrival of each warp
//   in, out              a stage with bytes to pass on (copy_all), loader -> storer; each one
//                        arrival. Stages are shared with the above and used in program order, so
//                        that the loader waits for whoever had the stage last
//   number_full, _empty  the next number of a loop, loader -> consumers' warps and storer
//   staged, unstaged     results in `staging`, consumers' warps -> storer
//   handed, unhanded     "what we stored ourselves, or waited for, may be announced", consumers'
//                        warps -> storer
//
// Waits on mbarriers end when the block has failed, which they look for themselves. What was waited
// for is then not there: stores and signals are left out, all inside the block goes on as if. Only
// so do all warps of a warpgroup reach every wgmma and every barrier together.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/gpu_launch.h"
#include "tilewire/tile/impl/gpu/epilogue.h"
#include "tilewire/tile/impl/gpu/operand.h"
#include "tilewire/tile/impl/gpu/ptx/mbarrier.h"
#include "tilewire/tile/impl/gpu/rows.h"
#include "tilewire/tile/impl/gpu/tile_wait.h"

namespace TW_NS {

/// Threads of a block: warps 0 .. 7 consume, 8 loads, 9 stores, 10 and 11 make the warpgroup whole.
inline constexpr int kBlockThreads = 384, kLoaderWarp = kTileWarps, kStorerWarp = kTileWarps + 1;
/// Registers of a thread. At launch all have kLaunchRegisters (64 Ki / 384, in steps of 8): what
/// one warpgroup gives back is all that the others can take. For more they would wait for ever.
inline constexpr int kLaunchRegisters = 168, kConsumerRegisters = 184, kOtherRegisters = 136;
static_assert(2 * kConsumerRegisters + kOtherRegisters <= 3 * kLaunchRegisters);

inline constexpr int kStages = 5;
inline constexpr int kNumbers = 2;

/// Barriers that hardware numbers. 0: the whole block.
enum BarrierId : int { kWholeBlock = 0, kConsumers = 1 };

/// An operand of a stage that the loader has not asked for yet.
struct Deferred {
  Lines a;
  Ready when;
};

struct Sm90Memory {
  alignas(1024) char stage[kStages][kStageBytes];
  alignas(1024) char staging[kStagingBytes];
  uint64_t full[kStages], empty[kStages];
  uint64_t in[kStages], out[kStages];
  uint64_t number_full[kNumbers], number_empty[kNumbers];
  uint64_t staged, unstaged;
  uint64_t handed, unhanded;
  uint32_t number[kNumbers];
  RowShared row;
  TileControl control;
  Deferred deferred[kStages];
};
inline constexpr size_t kSharedBytes = sizeof(Sm90Memory);
static_assert(kSharedBytes == kSm90aTiles.shared_bytes && kSharedBytes <= 227 << 10);
static_assert(kBlockThreads == kSm90aTiles.threads);

TW_FN Sm90Memory& block_memory() {
  extern __shared__ __align__(1024) char dynamic_memory[];
  return *reinterpret_cast<Sm90Memory*>(dynamic_memory);
}

/// One thread, before the block's first barrier.
TW_FN void open_memory(Sm90Memory& memory) {
#pragma unroll 1
  for (int s = 0; s < kStages; ++s) {
    ptx::mbarrier_init(&memory.full[s], 1);
    ptx::mbarrier_init(&memory.empty[s], kTileWarps);
    ptx::mbarrier_init(&memory.in[s], 1);
    ptx::mbarrier_init(&memory.out[s], 1);
  }
  for (int i = 0; i < kNumbers; ++i) {
    ptx::mbarrier_init(&memory.number_full[i], 1);
    ptx::mbarrier_init(&memory.number_empty[i], kTileWarps + 1);
  }
  ptx::mbarrier_init(&memory.staged, kTileWarps);
  ptx::mbarrier_init(&memory.unstaged, 1);
  ptx::mbarrier_init(&memory.handed, kTileWarps);
  ptx::mbarrier_init(&memory.unhanded, 1);
  ptx::fence_mbarrier_init();
  ptx::fence_proxy_async_shared();  // bulk copies count down on them
}

/// Tries of an mbarrier, each of which may sleep, between two looks at abort word and clock.
inline constexpr uint32_t kTriesToRest = 64;

/// Until the phase has ended; false: the block has failed. Each thread acquires; the warp, all of
/// which calls it, is together again when it returns.
TW_FN bool wait_phase(TileControl& control, uint64_t* barrier, uint32_t parity) {
  bool ended = true;
  uint64_t start = 0;
  for (uint32_t tries = 1; !ptx::mbarrier_try_wait(barrier, parity); ++tries) {
    ended = !has_failed(control);
    if (ended && tries % kTriesToRest == 0 && lane() == 0) ended = rest_inside(control, start);
    if (!ended) break;
  }
  __syncwarp();
  return ended;
}

/// Bit i of a mask: which parity barrier i has next.
TW_FN uint32_t bit(uint32_t mask, uint32_t i) { return mask >> i & 1; }

/// A stage in turn.
struct StageCursor {
  uint32_t at = 0;
  TW_FN void next() { at = at + 1 == kStages ? 0 : at + 1; }
  TW_FN void skip(uint32_t n) { at = (at + n) % kStages; }
};

}  // namespace TW_NS
