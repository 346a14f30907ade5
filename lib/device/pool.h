// Worker threads of one CPU device.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "lib/device/device.h"

namespace tw {

class Pool {
 public:
  /// `threads` beside the caller's; started at the first run.
  explicit Pool(int threads) : wanted_(threads) {}
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool();

  int threads() const { return wanted_; }

  /// Runs blocks 0 .. blocks - 1 and returns when all are done. Block 0 runs in this thread; every
  /// thread takes its blocks in increasing order. One run at a time; others wait.
  void run(CpuEntry entry, const void* args, int blocks);

 private:
  struct Job {
    CpuEntry entry;
    const void* args;
    int blocks;
  };

  void start();
  void work(int thread);
  uint64_t next_job(uint64_t seen);
  void take_blocks(const Job& job, int first) const;

  const int wanted_;
  std::mutex run_mutex_;
  std::vector<std::thread> threads_;
  // A job is published by storing its number in `posted_` (release); workers acquire it. It is done
  // when `pending_` is 0 again, which the caller acquires.
  Job job_{};
  std::atomic<uint64_t> posted_{0};
  std::atomic<int> pending_{0};
  std::atomic<bool> ending_{false};
  std::mutex sleep_mutex_;
  std::condition_variable wake_;
};

}  // namespace tw
