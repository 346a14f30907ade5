#include "tests/support/tile_ranks.h"

#include "tests/support/gemm_memory.h"
#include "tilewire/tile/grid.h"

namespace tw::test {
namespace {

char* poisoned(size_t bytes) {
  constexpr size_t kAlign = 4096;
  const size_t rounded = (bytes + kAlign) / kAlign * kAlign;
  void* p = std::aligned_alloc(kAlign, rounded);
  std::memset(p, kTilePoison, rounded);
  return static_cast<char*>(p);
}

size_t scratch_bytes(const TileWorldShape& shape) { return tile_scratch(kCpuTile.rows, shape.k); }

}  // namespace

TileWorld::TileWorld(const TileWorldShape& shape)
    : shape_(shape),
      layout_(tile_layout(shape.ranks, shape.slots, shape.bytes)),
      world_({.ranks = shape.ranks,
              .packet_bytes = 64,
              .slot_bytes = 64,
              .staging_bytes = 4096,
              .channel_bytes = 0,
              .window_bytes = shape.window_bytes,
              .patience = shape.patience}) {
  for (int r = 0; r < shape.ranks; ++r) {
    state_.push_back(std::make_unique<Rank>());
    Rank& own = *state_.back();
    own.part.reset(poisoned(layout_.end));
    std::memset(own.part.get(), 0, layout_.data);
    own.scratch.reset(poisoned(static_cast<size_t>(shape.blocks) * scratch_bytes(shape)));
    parts_.push_back(own.part.get());
  }
}

tw_tile_view TileWorld::view(int rank, uint64_t history, StorePolicy store) {
  Rank& own = *state_[static_cast<size_t>(rank)];
  tw_tile_view view{};
  view.comm = world_.view(rank);
  view.layout = layout_;
  view.parts = parts_.data();
  view.epoch = &own.epoch;
  view.counters = &own.counters;
  view.scratch = own.scratch.get();
  view.scratch_bytes = scratch_bytes(shape_);
  view.store = store;
  view.record = {kAllReduce, TW_FP32, {1, 2, 3}, static_cast<uint16_t>(history >> 48), history};
  return view;
}

}  // namespace tw::test
