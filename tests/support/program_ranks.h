// One rank's part of a program made by hand, over a TileWorld: no host code of the library's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "tests/support/tile_ranks.h"
#include "tilewire/kernels/program.h"

namespace tw::test {

/// The kernel of Llama programs on one target.
struct EntryOfTarget {
  std::string name;
  CpuEntry entry;
};
/// On the targets of this build that run here, best first.
std::vector<EntryOfTarget> llama_targets();

class ProgramRank {
 public:
  ProgramRank(TileWorld& world, int rank) : world_(world), rank_(rank) {}

  /// `kind`: the op type's place in the kernel's list. The op's number.
  template <class Kind, class Args>
  uint32_t op(Kind kind, const Args& args) {
    const size_t at = arguments_.size();
    ops_.push_back({static_cast<uint32_t>(kind), 0, at * sizeof(Unit)});
    arguments_.resize(at + (sizeof args + sizeof(Unit) - 1) / sizeof(Unit));
    std::memcpy(arguments_.data() + at, &args, sizeof args);
    return static_cast<uint32_t>(ops_.size() - 1);
  }

  /// Waits for counters `waits` of every rank; raises `raises` (-1: none): every rank is told.
  void add(uint32_t op, std::array<uint32_t, 3> at, const std::vector<uint32_t>& waits = {},
           int raises = -1);

  /// The rank's part of the tile set's data.
  char* data();
  /// Runs the program. Row and scratch memory: poisoned before.
  void launch(CpuEntry entry, uint64_t history, int blocks, bool threads);

  size_t row = 64;  // as in ProgramArgs
  size_t scratch_bytes = 64;

 private:
  struct alignas(16) Unit {
    char bytes[16];
  };
  TileWorld& world_;
  const int rank_;
  std::vector<ProgramInstruction> list_;
  std::vector<ProgramWait> waits_;
  std::vector<uint32_t> raises_;
  std::vector<ProgramCounter> counters_;
  std::vector<ProgramOp> ops_;
  std::vector<Unit> arguments_;
};

}  // namespace tw::test
