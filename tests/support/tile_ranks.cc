#include "tests/support/tile_ranks.h"

#include "tests/support/gemm_memory.h"
#include "tests/support/unseen.h"

namespace tw::test {
namespace {

/// No rank's thread runs yet that could see it.
TW_UNSEEN void poison(char* memory, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) memory[i] = static_cast<char>(kTilePoison);
}

size_t scratch_bytes(const TileWorldShape& shape) { return tile_scratch(shape.tile_rows, shape.k); }

}  // namespace

/// Memory of worlds that are gone, by its size: fresh pages cost more than most launches.
PoisonedMemory::Spare& PoisonedMemory::spare() {
  static Spare spare;
  return spare;
}

PoisonedMemory::PoisonedMemory(size_t bytes) : bytes_((bytes + kAlign) / kAlign * kAlign) {
  auto& same = spare()[bytes_];
  if (same.empty()) {
    data_.reset(static_cast<char*>(std::aligned_alloc(kAlign, bytes_)));
  } else {
    data_ = std::move(same.back());
    same.pop_back();
  }
  poison(data_.get(), bytes_);
}

PoisonedMemory::~PoisonedMemory() { spare()[bytes_].push_back(std::move(data_)); }

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
    own.part.emplace(layout_.end);
    std::memset(own.part->data(), 0, layout_.data);
    own.scratch.emplace(static_cast<size_t>(shape.blocks) * scratch_bytes(shape));
    parts_.push_back(own.part->data());
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
  view.scratch = own.scratch->data();
  view.scratch_bytes = scratch_bytes(shape_);
  view.store = store;
  view.record = {kAllReduce, TW_FP32, {1, 2, 3}, static_cast<uint16_t>(history >> 48), history};
  return view;
}

}  // namespace tw::test
