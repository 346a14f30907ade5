// Launches of programs on one rank: the tile set that their ranks share, and the memory of its own
// that a launch works in. Everything is allocated when it is made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/comm/control.h"
#include "lib/comm/window.h"
#include "lib/device/buffer.h"
#include "lib/device/device.h"
#include "lib/program/builder.h"
#include "tilewire/tile_device.h"

namespace tw {

/// What launches need.
struct LaunchNeeds {
  size_t data = 0;        // bytes of each rank's part that the ops divide among themselves
  size_t note = 0;        // bytes in which a rank says what it launches, for messages
  size_t scratch = 0;     // bytes of a block, for the tile layer
  size_t row = 0;         // floats of a block
  size_t op_scratch = 0;  // bytes of a block, for ops
  StorePolicy store{};

  /// Of the rank's own, for `blocks` blocks.
  size_t local_bytes(int blocks) const {
    return static_cast<size_t>(blocks) * (scratch + row * sizeof(float) + op_scratch);
  }
};

class ProgramLauncher {
 public:
  /// Collective. `images`: all that will be launched, on this rank. `kind`: of control calls.
  /// Throws OUT_OF_MEMORY on all ranks alike.
  ProgramLauncher(Comm& comm, CpuEntry entry, const LaunchNeeds& needs,
                  const std::vector<const ProgramImage*>& images, ControlKind kind);
  /// Collective, unless the comm has ended. Nothing is running.
  ~ProgramLauncher();
  ProgramLauncher(const ProgramLauncher&) = delete;
  ProgramLauncher& operator=(const ProgramLauncher&) = delete;

  /// `rank`'s data and its note, as mapped here.
  char* data(int rank) const { return window_->data(rank) + layout_.data; }
  char* note(int rank) const { return data(rank) + note_at_; }
  /// Bytes of this rank: what peers reach, and its own.
  size_t bytes() const { return layout_.end + needs_.local_bytes(blocks_); }

  /// In the device's order. `digest` is equal on all ranks, or the comm ends with what `mismatch`
  /// says of a peer; the rank's note has been written. Throws what ended the comm.
  void launch(const BuiltProgram& program, const ProgramImage& image, uint64_t digest,
              const std::function<std::string(int peer)>& mismatch, bool traced);

  /// Collective: rank 0 writes what the last traced launch, of `program` in whole, noted on all
  /// ranks. Throws SYSTEM; `program` null: INVALID_STATE with `why`, when all ranks have said so.
  void write_trace(const std::string& path, const BuiltProgram* program, ControlKind kind,
                   const char* why);

 private:
  void allocate(size_t counters);
  tw_tile_view view(uint64_t digest);
  ProgramRecord* records(int rank) const {
    return reinterpret_cast<ProgramRecord*>(data(rank) + records_at_);
  }

  Comm& comm_;
  const CpuEntry entry_;
  const LaunchNeeds needs_;
  const int blocks_;             // the most of a launch: what there is memory for
  size_t note_at_, records_at_;  // in the data
  TileLayout layout_{};
  std::unique_ptr<Window> window_;
  TileCounters counters_{};
  uint64_t epoch_ = 0;
  Buffer scratch_, rows_, op_scratch_, counts_;
};

}  // namespace tw
