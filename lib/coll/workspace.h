// What the tile programs of a comm's own calls work in: memory that peers reach (the workspace
// proper), and memory of this rank alone.
//
// Two times. The caller's thread decides: how large the workspace will be (`plan`), whether that is
// within the cap, and which local memory a call has (`local`). What ranks do together (`grow`) and
// what depends on it (`view`) comes in the order of the device's calls, which may be later. Nothing
// that a queued call uses is ever moved: a call that needs more local memory gets new memory, and
// what it replaces goes when the last call that has it is done. On GPUs, where launches may run at
// any time and graphs hold addresses, what is replaced stays until the comm ends; sizes are powers
// of two there, so that all of it is less than what replaced it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "lib/base/error.h"
#include "lib/comm/comm.h"
#include "lib/comm/window.h"
#include "lib/device/device.h"
#include "tilewire/tile_device.h"

namespace tw {

/// How `bytes` of workspace at each rank are divided. Words once used as words are never used as
/// data, so the division depends on the whole alone, not on a call.
TileLayout workspace_layout(int ranks, size_t bytes);

/// The workspace that has `slots` and `data` bytes.
size_t workspace_bytes(int ranks, size_t slots, size_t data);

/// Scratch of each block of launches.
size_t scratch_bytes(size_t tile_rows, size_t k, bool least);

/// Results on the way in calls by their parts.
enum Temporary { kSums, kMoved, kArrived, kTemporaries };
using Temporaries = std::array<size_t, kTemporaries>;  // bytes of each

/// What a call needs of its rank alone.
struct LocalNeed {
  int blocks = 0;
  size_t scratch = 0;  // bytes a block
  size_t row = 0;      // floats a block
  size_t slots = 0;    // signal words between the blocks of local kernels, 0 = there are none
  Temporaries temporaries{};

  bool operator==(const LocalNeed&) const = default;
};

/// What serves both.
LocalNeed larger(const LocalNeed& a, const LocalNeed& b);

/// Memory of the rank's device.
class Piece {
 public:
  /// Throws OUT_OF_MEMORY.
  Piece(Device& device, size_t bytes)
      : memory_(bytes == 0 ? nullptr : device.allocate(bytes)), bytes_(bytes) {}
  char* data() const { return memory_ == nullptr ? nullptr : memory_->data(); }
  size_t bytes() const { return bytes_; }

 private:
  std::unique_ptr<DeviceMemory> memory_;
  size_t bytes_;
};
using PiecePtr = std::shared_ptr<const Piece>;

/// Signal words of kernels that talk to nobody but themselves, and their table of parts.
struct LocalWords {
  LocalWords(Device& device, int ranks, size_t slots);
  TileLayout layout;
  Piece memory;

  static size_t bytes(int ranks, size_t slots);
  char* const* parts() const { return reinterpret_cast<char**>(memory.data() + layout.end); }
};

/// Memory for calls that need up to `sizes`. Never changes.
struct LocalMemory {
  LocalNeed sizes;
  PiecePtr scratch, rows;
  std::array<PiecePtr, kTemporaries> temporaries;
  std::shared_ptr<const LocalWords> words;

  float* row() const { return reinterpret_cast<float*>(rows->data()); }
  char* temporary(Temporary which) const { return temporaries[which]->data(); }
};

/// One rank's of one comm.
class Workspace {
 public:
  explicit Workspace(Comm& comm);

  // ---- In the caller's thread, in the order of the calls ----

  /// Throws UNSUPPORTED when a call with these needs would have to make memory: it is being
  /// captured into a graph.
  void check_there(size_t bytes, const LocalNeed& need) const;

  /// The size of a workspace that is to hold `bytes`.
  size_t rounded(size_t bytes) const;

  /// The workspace will hold `bytes` (rounded): whether it must grow for that. Throws
  /// OUT_OF_RESOURCES when with it, and `most` beside it, the comm would have more than
  /// config.max_memory.
  bool plan(size_t bytes, const LocalNeed& most);

  /// Memory of this rank for a call. What earlier calls left is kept with it while the cap lets it.
  /// Throws OUT_OF_RESOURCES beyond the cap, OUT_OF_MEMORY.
  const std::shared_ptr<const LocalMemory>& local(const LocalNeed& need);

  /// Growing failed, on all ranks.
  void forget_plan();

  /// This rank's part of the workspace, as its kernels see it; null while there is none. In the
  /// order of the device's calls.
  char* own() const { return window_ == nullptr ? nullptr : window_->data(comm_.rank()); }

  bool capped() const { return comm_.options().max_memory != 0; }

  // ---- In the order of the device's calls ----

  /// Makes the workspace hold `bytes`, which were planned. Collective. `next`: the call for which
  /// it grows, or null; ranks that differ in it are a mismatch, as are ranks in another call.
  /// `failure`: why this rank cannot make the call. Throws, on all ranks alike, the failure of any
  /// of them, named.
  void grow(size_t bytes, const CallRecord* next, const std::optional<Error>& failure);

  /// For a call's kernel: over the workspace, at the comm's epoch.
  tw_tile_view view(const TileRecord& record, const LocalMemory& local);
  /// For kernels of this rank alone.
  tw_tile_view local_view(const LocalMemory& local);

 private:
  bool fits(size_t bytes) const;
  size_t local_rounded(size_t bytes) const;
  size_t local_bytes(const LocalNeed& need) const;
  PiecePtr piece(const PiecePtr& old, size_t bytes);
  void set_local(std::shared_ptr<const LocalMemory> local);
  void check_cap(size_t bytes) const;
  void replace_window(size_t bytes);
  void exchange(size_t bytes, const CallRecord* next, const std::optional<Error>& failure);
  void count_memory();
  tw_tile_view common_view(const LocalMemory& local, TileCounters* counters) const;

  Comm& comm_;
  size_t planned_ = 0;  // bytes that peers reach here, once all that has been planned is done
  std::shared_ptr<const LocalMemory> local_;
  size_t kept_bytes_ = 0;  // on GPUs: what has been replaced
  std::vector<std::shared_ptr<const LocalMemory>> kept_local_;

  struct Counters;  // of launches, in the device's memory
  Counters* counters() const { return reinterpret_cast<Counters*>(counters_.data()); }
  char** parts() const;
  const Piece counters_;
  std::unique_ptr<Window> window_;  // device's order, as what follows
  std::vector<std::unique_ptr<Window>> kept_windows_;
};

}  // namespace tw
