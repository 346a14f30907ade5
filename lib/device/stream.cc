#include "lib/device/stream.h"

#include "lib/base/fork.h"
#include "lib/base/handle.h"
#include "lib/base/thread.h"

namespace tw {
namespace {

using Streams = HandleTable<tw_stream_t, std::shared_ptr<Stream>, 4>;
Streams& g_streams = *new Streams;  // never destroyed: threads may call while the process exits
std::mutex g_mutex;                 // between copying a table's pointer and ending it

/// With g_mutex.
std::shared_ptr<Stream>* find(tw_stream_t handle) {
  std::shared_ptr<Stream>* stream = g_streams.find(handle);
  if (stream == nullptr)
    fail(TW_ERROR_INVALID_HANDLE, "stream = %p is %s; valid: one of tw_stream_create", handle,
         handle == nullptr ? "NULL" : "destroyed or not of this library");
  return stream;
}

}  // namespace

Stream::Stream() : thread_(start_thread("tw-stream", [this] { run(); })) {}

Stream::~Stream() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Stream::push(Job job) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    jobs_.push_back({std::move(job), std::make_unique<PendingWork>()});
  }
  changed_.notify_all();
}

void Stream::synchronize() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return jobs_.empty(); });
  if (error_ == nullptr) return;
  const Error error = *error_;
  error_.reset();
  throw Error(error);
}

void Stream::run() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return !jobs_.empty() || ending_; });
    if (jobs_.empty()) return;
    Job& job = jobs_.front().run;  // a deque keeps it in place while others are added
    lock.unlock();
    std::unique_ptr<Error> error = job();
    lock.lock();
    jobs_.pop_front();
    if (error_ == nullptr) error_ = std::move(error);
    if (jobs_.empty()) changed_.notify_all();
  }
}

tw_stream_t create_stream() {
  watch_fork();  // a child has no thread for it
  return g_streams.insert(std::make_unique<std::shared_ptr<Stream>>(std::make_shared<Stream>()));
}

std::shared_ptr<Stream> stream_of(tw_stream_t handle) {
  const std::lock_guard<std::mutex> lock(g_mutex);
  return *find(handle);
}

void destroy_stream(tw_stream_t handle) {
  std::unique_ptr<std::shared_ptr<Stream>> stream;  // ends after the lock: what is queued runs then
  const std::lock_guard<std::mutex> lock(g_mutex);
  stream.reset(find(handle));
  g_streams.erase(handle);
}

}  // namespace tw
