// A helper thread that a group uses to make progress in two places at once. Made when first needed,
// kept for the next group.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "lib/base/thread.h"

namespace tw {

/// Runs one job at a time.
class Lane {
 public:
  /// Throws OUT_OF_RESOURCES when no thread can be made.
  Lane();
  /// The lane must be idle.
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  /// Starts `job`, which must not throw. The lane must be idle.
  void start(std::function<void()> job);

  /// Returns when the job is done. Its effects are visible to the caller.
  void wait();

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> job_;  // set while one is wanted or running
  std::optional<PendingWork> pending_;
  bool ending_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace tw
