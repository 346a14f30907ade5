// Worker threads of one CPU device.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "lib/device/device.h"

namespace tw {

class Pool {
 public:
  Pool() = default;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool();

  /// Runs blocks 0 .. blocks - 1 and returns when all are done, on this thread and on up to
  /// `threads` workers, which are started when they are first needed. Block 0 runs here; every
  /// thread takes its blocks in increasing order. While another thread is in `run`, all blocks run
  /// here: a launch never waits for another one. `spin`: workers and caller wait for a moment
  /// without giving up their cores. When no further thread can be started, those that there are
  /// do the work.
  void run(CpuEntry entry, const void* args, int blocks, int threads, bool spin);

 private:
  struct Job {
    CpuEntry entry;
    const void* args;
    int blocks;
    int stride;
    bool spin;
  };
  /// A job is handed to a worker by adding 1 to `posted` (release).
  struct alignas(128) Worker {
    std::atomic<uint32_t> posted{0};
    std::thread thread;
  };

  int start_until(int threads);
  void work(Worker& worker, int number);
  static void take_blocks(const Job& job, int first);
  void wait_for_workers(bool spin);

  std::mutex run_mutex_;
  std::vector<std::unique_ptr<Worker>> workers_;
  bool short_of_threads_ = false;
  Job job_{};
  std::atomic<bool> ending_{false};
  alignas(128) std::atomic<uint32_t> pending_{0};  // workers that have not finished the job
};

}  // namespace tw
