// Launches of programs on one rank: the tile set that their ranks share, and the memory of its own
// that a launch works in. Everything is allocated when it is made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/comm/comm.h"
#include "lib/comm/control.h"
#include "lib/comm/window.h"
#include "lib/device/buffer.h"
#include "lib/device/device.h"
#include "lib/program/builder.h"
#include "tilewire/tile_device.h"

namespace tw {

/// What launches are and need.
struct LaunchNeeds {
  CollOp call{};          // as the comm's calls are told apart
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

/// A launch that is one of the comm's calls.
struct ProgramCall {
  TileRecord record;
  uint64_t number;  // of the call, from 1
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

  /// Makes a launch the next of the comm's calls: from now on it must be launched. Its rows, the
  /// part of the program (0: all of it) and a digest of the rest are equal on all ranks. In the
  /// caller's thread.
  ProgramCall number(uint32_t rows, uint64_t digest, uint32_t part = 0);
  /// In the device's order. A peer in another call ends the comm: with what `mismatch` (of
  /// LaunchWords), which reads notes that have been written, says of it when the programs are the
  /// same. Throws what ended the comm before the launch was complete.
  void launch(const BuiltProgram& program, const ProgramImage& image, const ProgramCall& call,
              std::function<std::string(int peer)> mismatch, bool traced);

  /// Collective: rank 0 writes what the last traced launch, of `program` in whole, noted on all
  /// ranks. Throws SYSTEM; `program` null: INVALID_STATE with `why`, when all ranks have said so.
  void write_trace(const std::string& path, const BuiltProgram* program, ControlKind kind,
                   const char* why);

 private:
  void allocate(size_t counters);
  tw_tile_view view(const TileRecord& record);
  ProgramRecord* records(int rank) const {
    return reinterpret_cast<ProgramRecord*>(data(rank) + records_at_);
  }

  Comm& comm_;
  const CpuEntry entry_;
  const LaunchNeeds needs_;
  const uint32_t number_;        // of what is launched, on its comm
  const int blocks_;             // the most of a launch: what there is memory for
  size_t note_at_, records_at_;  // in the data
  TileLayout layout_{};
  std::unique_ptr<Window> window_;
  TileCounters counters_{};
  Buffer scratch_, rows_, op_scratch_, counts_;
};

}  // namespace tw
