// What a comm's kernels read and write beside the heaps, in memory of the rank's device: the tables
// of addresses, the comm's epoch, the blocks' state, and how to wait.
//
// Waiting on a GPU. A kernel there cannot call the host. It polls a stop word and its clock (the
// time-out of WaitContext), and a block that gives up writes a WaitFailure and the stop word
// (tile/impl/gpu/shared.h). Both lie in memory where this process and its kernels meet
// (MeetingWords). KernelWatch, a thread of the rank, looks at them every 2 ms: it turns a failure
// into the comm's error, and the rank's abort word, which whoever ends the comm writes, into the
// stop word.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "lib/comm/control.h"
#include "lib/device/device.h"
#include "tilewire/tile/comm_view.h"

namespace tw {

class Comm;

/// Flags are there for so many blocks.
constexpr int kMostBlocks = 64;

class KernelSide {
 public:
  /// `heaps`: each rank's as the device maps them. `wait`: the host's, which kernels on CPUs share.
  KernelSide(Device& device, const std::vector<char*>& heaps, WaitContext* wait);

  /// Where kernels and the watch meet; null on CPUs.
  struct Meeting {
    alignas(128) uint64_t stop;  // not 0: leave. Written by the watch, and by blocks that give up
    WaitFailure failure;         // why a block gave up
  };
  Meeting* meeting() const;

  CommView view(int rank, const CommLayout& layout) const;

  /// Row `index` of the segment table, an address for each rank. Kernels that run have no use for
  /// it yet.
  void set_segment(int index, const std::vector<char*>& at);

  /// Calls completed. Any thread.
  uint64_t epoch() const;
  /// The same where the host may look at any time for free; else a word that stays 0: nothing is
  /// known to be complete.
  const uint64_t* completed() const;

 private:
  struct Words;
  Words* words() const;

  Device& device_;
  const size_t ranks_;
  std::unique_ptr<DeviceMemory> memory_;
  std::unique_ptr<MeetingWords> words_met_;
  WaitContext* wait_;  // as kernels see it
};

/// The thread between a comm and this rank's kernels on a GPU.
class KernelWatch {
 public:
  KernelWatch(Comm& comm, KernelSide::Meeting& meeting);
  KernelWatch(const KernelWatch&) = delete;
  KernelWatch& operator=(const KernelWatch&) = delete;
  ~KernelWatch();

 private:
  void run();

  Comm& comm_;
  KernelSide::Meeting& meeting_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ending_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace tw
