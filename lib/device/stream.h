// Queues of calls on CPUs (tw_stream_t).
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "lib/base/error.h"
#include "lib/base/thread.h"
#include "tilewire.h"

namespace tw {

class Stream {
 public:
  Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  /// Runs what is queued first.
  ~Stream();

  /// Queues `job`, which must not throw: it returns the error of its call, or null.
  using Job = std::function<std::unique_ptr<Error>()>;
  void push(Job job);

  /// Blocks until everything queued is done; throws the first error since the last time.
  void synchronize();

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  struct Queued {
    Job run;
    std::unique_ptr<PendingWork> pending;
  };
  std::deque<Queued> jobs_;  // the front one is running
  std::unique_ptr<Error> error_;
  bool ending_ = false;
  std::thread thread_;  // last: it uses the others
};

/// Streams by handle; any thread. `stream_of` throws INVALID_HANDLE for one that is not live.
tw_stream_t create_stream();
std::shared_ptr<Stream> stream_of(tw_stream_t handle);
inline void check_stream(tw_stream_t handle) { stream_of(handle); }
/// Ends the handle; what is queued runs before this returns. Throws as `stream_of`.
void destroy_stream(tw_stream_t handle);

}  // namespace tw
