// Thread ranks that call kernel entries directly: a CommView made by hand, no library host code.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "lib/device/device.h"
#include "tilewire/kernels/coll.h"

namespace tw::test {

/// What a world of thread ranks is made of; small enough that pipelines wrap.
struct WorldShape {
  int ranks = 2;
  int blocks = 1;
  size_t packet_bytes = 4096;
  size_t slot_bytes = size_t{1} << 16;
  size_t staging_bytes = size_t{1} << 18;
  size_t channel_bytes = size_t{1} << 14;
  size_t window_bytes = 0;
  std::chrono::milliseconds patience{20000};  // of one wait
};

/// The comm memory of `ranks` ranks in this process, one mapping shared by all.
class World {
 public:
  explicit World(const WorldShape& shape);
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  int ranks() const { return shape_.ranks; }
  int blocks() const { return shape_.blocks; }
  CommView view(int rank);

  /// Memory of `rank` that all ranks can reach, and its location.
  char* window(int rank) { return windows_[rank]; }
  uint64_t window_at(int rank, size_t offset) const {
    static_cast<void>(rank);
    return (uint64_t{1} << kLocationShift) + offset;
  }

  /// Runs `body(rank)` on one thread per rank and joins them.
  void run(const std::function<void(int)>& body) const;

  /// Runs all blocks of a kernel for one rank: in one thread, or one thread per block.
  static void launch(CpuEntry entry, const void* args, int blocks, bool threads);

  /// The first failure that a wait reported: status, and who waited for whom.
  tw_status_t failure() const { return static_cast<tw_status_t>(failure_.load()); }

  /// Ends all waits of all ranks.
  void stop() { fail(TW_ERROR_ABORTED); }

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  struct Rank {
    WaitContext wait;
    uint64_t epoch = 0;
    uint64_t finished = 0;
    std::vector<BlockState> states;
  };
  static bool slow(WaitContext* context, const WaitSite* site, const uint64_t* word, uint64_t want);
  static void mismatch(WaitContext* context, const WaitSite* site, uint64_t got, uint64_t want);
  static bool idle(WaitContext* context, const WaitSite* site, uint64_t round);
  void fail(tw_status_t status);

  WorldShape shape_;
  CommLayout layout_;
  std::vector<std::unique_ptr<void, Free>> memory_;
  std::vector<char*> heaps_;
  std::vector<char*> windows_;
  std::vector<Rank> state_;
  std::atomic<int> failure_{0};
  uint64_t abort_ = 0;
};

}  // namespace tw::test
