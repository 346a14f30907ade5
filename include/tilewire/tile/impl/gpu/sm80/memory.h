// What the threads of a block share on sm_80: stages of operands, which the results of a tile take
// over when its multiplication has ended.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/gpu_launch.h"
#include "tilewire/tile/impl/gpu/epilogue.h"
#include "tilewire/tile/impl/gpu/operand.h"
#include "tilewire/tile/impl/gpu/rows.h"
#include "tilewire/tile/impl/gpu/tile_wait.h"

namespace TW_NS {

inline constexpr int kBlockThreads = kTileThreads;
inline constexpr int kStages = 3;

struct Sm80Memory {
  alignas(128) char stage[kStages][kStageBytes];
  uint32_t number;
  uint32_t last;
  RowShared row;
  TileControl control;
  TW_FN char* staging() { return stage[0]; }
};
static_assert(kStagingBytes <= kStages * kStageBytes);
/// What every chip from sm_80 on has, sm_86 and sm_120 included: 99 KiB.
inline constexpr size_t kSharedBytes = sizeof(Sm80Memory);
static_assert(kSharedBytes == kSm80Tiles.shared_bytes && kSharedBytes <= 99 << 10);
static_assert(kBlockThreads == kSm80Tiles.threads);

TW_FN Sm80Memory& block_memory() {
  extern __shared__ __align__(128) char dynamic_memory[];
  return *reinterpret_cast<Sm80Memory*>(dynamic_memory);
}

}  // namespace TW_NS
