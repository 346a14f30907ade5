// What the tile programs of a comm's own calls work in: memory that peers reach (the workspace
// proper), and scratch of this rank.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "lib/comm/comm.h"
#include "lib/comm/window.h"
#include "lib/device/buffer.h"
#include "tilewire/tile_device.h"

namespace tw {

/// How `bytes` of workspace at each rank are divided. Words once used as words are never used as
/// data, so the division depends on the whole alone, not on a call.
TileLayout workspace_layout(int ranks, size_t bytes);

/// The workspace that has `slots` and `data` bytes.
size_t workspace_bytes(int ranks, size_t slots, size_t data);

/// Scratch of each block of launches.
size_t scratch_bytes(size_t tile_rows, size_t k, bool least);

class Workspace {
 public:
  explicit Workspace(Comm& comm);

  /// Bytes that peers reach here.
  size_t bytes() const { return window_ == nullptr ? 0 : window_->bytes(comm_.rank()); }

  /// Makes the workspace hold `bytes`. Collective, unless it does: equal on all ranks. Waits for
  /// queued calls. `next`: the call for which it grows, or null; ranks that differ in it are a
  /// mismatch, as are ranks in another call. Throws OUT_OF_RESOURCES, on all ranks alike, when with
  /// it and `local` further bytes the comm would have more than config.max_memory.
  void grow(size_t bytes, size_t local, const CallRecord* next);

  /// Throws OUT_OF_RESOURCES when with `added` bytes the comm would have more than
  /// config.max_memory.
  void check_cap(size_t added) const;

  /// What blocks of this rank need: scratch and a row of `row` floats each.
  struct Local {
    int blocks;
    size_t scratch;  // bytes a block
    size_t row;
  };
  size_t local_bytes(const Local& need) const;
  /// Makes it. Waits for queued calls when it must grow.
  void make_local(const Local& need);
  float* rows() const { return reinterpret_cast<float*>(rows_.data()); }

  /// Kept memory for results on the way, by number; grown as scratch is.
  enum Temporary { kSums, kMoved, kArrived, kTemporaries };
  char* temporary(Temporary which, size_t bytes);

  /// For a call's kernel: over the workspace, at the comm's epoch.
  tw_tile_view view(const TileRecord& record);
  /// For kernels of this rank alone, with `slots` signal words.
  tw_tile_view local_view(size_t slots);

  bool capped() const { return comm_.options().max_memory != 0; }

 private:
  void exchange(size_t bytes, const CallRecord* next);
  void ensure(Buffer& buffer, size_t bytes);
  void count_memory();
  tw_tile_view common_view(TileCounters* counters) const;

  Comm& comm_;
  std::unique_ptr<Window> window_;
  TileCounters counters_{}, local_counters_{};
  Buffer scratch_, rows_, words_;
  size_t scratch_bytes_ = 0;  // of a block
  Buffer temporaries_[kTemporaries];
  TileLayout local_layout_{};
  std::vector<char*> local_parts_;
  uint64_t local_epoch_ = 0;
};

}  // namespace tw
