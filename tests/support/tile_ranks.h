// Thread ranks that call tile kernels' entries directly: a tw_tile_view made by hand, no library
// host code. The set's memory is poisoned once, words apart, and never cleared.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "tests/support/kernel_ranks.h"
#include "tilewire/tile/grid.h"
#include "tilewire/tile_device.h"

namespace tw::test {

struct TileWorldShape {
  int ranks = 2;
  int blocks = 1;  // most of a launch
  size_t slots = 64;
  size_t bytes = 4096;
  size_t window_bytes = 0;
  size_t k = 0, tile_rows = kCpuTile.rows;  // the most: room for packed A
  std::chrono::milliseconds patience{20000};
};

/// Memory in which nothing is a number until it is written. Not for several threads at once.
class PoisonedMemory {
 public:
  explicit PoisonedMemory(size_t bytes);
  PoisonedMemory(const PoisonedMemory&) = delete;
  PoisonedMemory& operator=(const PoisonedMemory&) = delete;
  ~PoisonedMemory();
  char* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  using Memory = std::unique_ptr<char, Free>;
  using Spare = std::map<size_t, std::vector<Memory>>;
  static constexpr size_t kAlign = 4096;
  static Spare& spare();

  size_t bytes_;
  Memory data_;
};

class TileWorld {
 public:
  explicit TileWorld(const TileWorldShape& shape);

  int ranks() const { return world_.ranks(); }
  /// The view of a launch whose record tells `history`: equal on all ranks.
  tw_tile_view view(int rank, uint64_t history, StorePolicy store = StorePolicy::kPlain);

  char* window(int rank) { return world_.window(rank); }
  size_t bytes() const { return shape_.bytes; }
  size_t window_bytes() const { return shape_.window_bytes; }
  uint64_t window_at(int rank, size_t offset) const { return world_.window_at(rank, offset); }

  /// Runs `body(rank)` on one thread per rank and joins them.
  void run(const std::function<void(int)>& body) const { world_.run(body); }
  tw_status_t failure() const { return world_.failure(); }
  void stop() { world_.stop(); }

 private:
  struct Rank {
    TileCounters counters{};
    alignas(128) uint64_t epoch = 0;
    std::optional<PoisonedMemory> part, scratch;
  };
  TileWorldShape shape_;
  TileLayout layout_;
  World world_;
  std::vector<std::unique_ptr<Rank>> state_;
  std::vector<char*> parts_;
};

}  // namespace tw::test
