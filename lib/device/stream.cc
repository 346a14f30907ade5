#include "lib/device/stream.h"

#include <pthread.h>
#include <signal.h>

#include <map>

#include "lib/base/handle.h"

namespace tw {
namespace {

HandleTable<tw_stream_t, std::shared_ptr<Stream>, 4> g_streams;

}  // namespace

Stream::Stream() {
  sigset_t all, before;  // the thread takes no signal of the program's
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& error) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    fail(TW_ERROR_OUT_OF_RESOURCES, "starting a stream's thread: %s", error.what());
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

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
    jobs_.push_back(std::move(job));
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
    Job& job = jobs_.front();  // a deque keeps it in place while others are added
    lock.unlock();
    std::unique_ptr<Error> error = job();
    lock.lock();
    jobs_.pop_front();
    if (error_ == nullptr) error_ = std::move(error);
    if (jobs_.empty()) changed_.notify_all();
  }
}

tw_stream_t create_stream() {
  auto stream = std::make_unique<std::shared_ptr<Stream>>(std::make_shared<Stream>());
  const tw_stream_t handle = g_streams.insert(stream.get());
  stream.release();  // the table's until destroy_stream
  return handle;
}

std::shared_ptr<Stream> stream_of(tw_stream_t handle) {
  std::shared_ptr<Stream>* stream = g_streams.find(handle);
  if (stream == nullptr)
    fail(TW_ERROR_INVALID_HANDLE, "stream = %p is %s; valid: one of tw_stream_create", handle,
         handle == nullptr ? "NULL" : "destroyed or not of this library");
  return *stream;
}

void destroy_stream(tw_stream_t handle) {
  std::shared_ptr<Stream>* stream = g_streams.find(handle);
  if (stream == nullptr || !g_streams.erase(handle)) stream_of(handle);
  delete stream;
}

}  // namespace tw
