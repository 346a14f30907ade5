// A kernel's launch: what was asked for, and how far it is.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "lib/vgpu/sim/program.h"

namespace tw::vgpu {

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t product() const { return uint64_t{x} * y * z; }
};

/// A program on one GPU: its constants hold the addresses of that GPU's variables.
struct LoadedProgram {
  const Program* program = nullptr;
  std::vector<uint8_t> constants;
};

/// A launch's parameters, aligned as the chip's are: tensor maps lie in them.
class Parameters {
 public:
  void resize(size_t bytes) {
    size_ = bytes;
    pieces_.assign((bytes + sizeof(Piece) - 1) / sizeof(Piece), Piece());
  }
  uint8_t* data() { return reinterpret_cast<uint8_t*>(pieces_.data()); }
  const uint8_t* data() const { return reinterpret_cast<const uint8_t*>(pieces_.data()); }
  size_t size() const { return size_; }

 private:
  struct alignas(128) Piece {
    uint8_t bytes[128] = {};
  };
  std::vector<Piece> pieces_;
  size_t size_ = 0;
};

struct Launch {
  const LoadedProgram* loaded = nullptr;
  int gpu = 0;
  Dim3 grid, block, cluster;
  uint32_t dynamic_shared = 0;
  Parameters parameters;
  uint64_t id = 0;
  uint64_t next_block = 0;  // to become resident
  uint64_t done_blocks = 0;
  uint64_t block_cost = 0;  // of an SM, in kSmUnits
  bool is_started = false;
  // Launches that are complete before this one begins: up to the floor, and these.
  uint64_t known_floor = 0;
  std::vector<uint64_t> known_launches;

  const Program& program() const { return *loaded->program; }
  uint64_t blocks() const { return grid.product(); }
  bool is_done() const { return done_blocks == blocks(); }
};

/// An SM's room is so many units: divisible by every number of blocks that an SM may hold.
inline constexpr uint64_t kSmUnits = uint64_t{1} << 32;

/// Limits of a Hopper SM.
inline constexpr int kSmThreads = 2048;
inline constexpr int kSmBlocks = 32;
inline constexpr uint32_t kSmShared = 228 * 1024;
inline constexpr uint32_t kBlockShared = 227 * 1024;
inline constexpr uint32_t kReservedShared = 1024;  // of each block

/// How many blocks of the program fit on an SM; 0: none. By threads, shared memory and the
/// program's launch bounds (a kernel compiled for n blocks an SM is given no more).
int blocks_per_sm(const Program& program, uint64_t threads, uint32_t dynamic_shared);

}  // namespace tw::vgpu
