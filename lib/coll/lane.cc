#include "lib/coll/lane.h"

namespace tw {

Lane::Lane() : thread_(start_thread("tw-lane", [this] { run(); })) {}

Lane::~Lane() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Lane::start(std::function<void()> job) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    job_ = std::move(job);
    pending_.emplace();
  }
  changed_.notify_all();
}

void Lane::wait() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return job_ == nullptr; });
}

void Lane::run() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ending_ || job_ != nullptr; });
    if (job_ == nullptr) return;
    lock.unlock();
    job_();
    lock.lock();
    job_ = nullptr;
    pending_.reset();
    changed_.notify_all();
  }
}

}  // namespace tw
