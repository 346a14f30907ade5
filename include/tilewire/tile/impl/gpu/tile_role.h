// What every role of a tile block on GPUs has: its block's number, loops, and whether waits failed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/gpu/tile_loop.h"
#include "tilewire/tile/impl/gpu/tile_wait.h"
#include "tilewire/tile/tile_block.h"

namespace TW_NS {

/// `Self` is the role, which has take(phase, n); `Memory` is what the roles of a block share.
template <class Self, class Memory>
class TileRole {
 public:
  static constexpr size_t kTileK = kGpuTile.k, kTileRows = kGpuTile.rows, kTileCols = kGpuTile.cols;

  TW_FN TileRole(Memory& memory, const tw_tile_view& view)
      : memory_(memory), control_(memory.control), view_(view) {}

  TW_FN int index() const { return static_cast<int>(blockIdx.x); }
  TW_FN int blocks() const { return static_cast<int>(gridDim.x); }
  TW_FN const char* name() const { return control_.name; }
  TW_FN bool ok() const { return ok_; }
  TW_FN void forget() {}

  TW_FN auto tiles(TilePart part, int phase) {
    return TileLoop<Self, TileOf>(self(), part.tiles(), phase, TileOf{part});
  }
  TW_FN auto items(uint32_t n, int phase) {
    return TileLoop<Self, ItemOf>(self(), n, phase, ItemOf{});
  }

 protected:
  TW_FN Self& self() { return static_cast<Self&>(*this); }

  /// One thread's release of all that barriers ordered before.
  TW_FN static void release(uint64_t* word, uint64_t value) {
    ptx::fence_acq_rel_sys();
    ptx::store_relaxed_sys(word, value);
  }

  /// A warp's raise (TileBlockOps::raise), when all that the block stored is known to it.
  template <class Word>
  TW_FN static void raise_by_warp(uint64_t* count, uint64_t full, int n, Word word,
                                  uint64_t value) {
    bool last = false;
    if (lane() == 0) last = count_to(count, full);
    last = __shfl_sync(~0u, last, 0) != 0;
    __syncwarp();                      // shuffles do not order memory
    if (!last || lane() >= n) return;  // n <= kMaxFusedRanks
    uint64_t* const to = word(lane());
    if (to != nullptr) release(to, value);
  }

  Memory& memory_;
  TileControl& control_;
  const tw_tile_view& view_;
  bool ok_ = true;
};

/// Runs `program(role)`.
template <class Role, class Program, class Memory>
TW_FN void run_role(const Program& program, Memory& memory, const tw_tile_view& view) {
  Role role(memory, view);
  program(role);
}

}  // namespace TW_NS
