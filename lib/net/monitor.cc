#include "lib/net/monitor.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <cstdint>
#include <map>
#include <mutex>
#include <thread>

#include "lib/base/error.h"
#include "lib/base/fd.h"
#include "lib/base/thread.h"

namespace tw::net {
namespace {

/// The running thread and what it watches. Shared by the watches; the last one ends it.
class Loop {
 public:
  Loop() : poll_(epoll_create1(EPOLL_CLOEXEC)), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!poll_) fail_errno("epoll_create1", errno);
    if (!wake_) fail_errno("eventfd", errno);
    add(wake_.get(), EPOLLIN, 0);
    thread_ = start_thread("tw-monitor", [this] { run(); });
  }

  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  ~Loop() {
    const uint64_t one = 1;
    // An eventfd that counts one event cannot be full.
    [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof one);
    thread_.join();
  }

  uint64_t start(int fd, Monitor::OnHangUp on_hang_up) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const uint64_t key = ++last_key_;
    watched_[key] = std::move(on_hang_up);
    try {
      add(fd, EPOLLRDHUP | EPOLLONESHOT, key);
    } catch (...) {
      watched_.erase(key);
      throw;
    }
    return key;
  }

  void stop(int fd, uint64_t key) {
    const std::lock_guard<std::mutex> lock(mutex_);  // also waits for a running callback
    epoll_ctl(poll_.get(), EPOLL_CTL_DEL, fd, nullptr);
    watched_.erase(key);
  }

 private:
  void add(int fd, uint32_t events, uint64_t key) {
    epoll_event event = {};
    event.events = events;
    event.data.u64 = key;
    if (epoll_ctl(poll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) fail_errno("epoll_ctl", errno);
  }

  void run() {
    for (;;) {
      epoll_event events[16];
      const int n = epoll_wait(poll_.get(), events, 16, -1);
      const std::lock_guard<std::mutex> lock(mutex_);
      for (int i = 0; i < n; ++i) {
        if (events[i].data.u64 == 0) return;
        const auto found = watched_.find(events[i].data.u64);
        if (found != watched_.end()) found->second();
      }
    }
  }

  const Fd poll_;
  const Fd wake_;
  std::mutex mutex_;
  std::map<uint64_t, Monitor::OnHangUp> watched_;
  uint64_t last_key_ = 0;
  std::thread thread_;
};

class LoopWatch : public Monitor::Watch {
 public:
  LoopWatch(std::shared_ptr<Loop> loop, int fd, Monitor::OnHangUp on_hang_up)
      : loop_(std::move(loop)), fd_(fd), key_(loop_->start(fd, std::move(on_hang_up))) {}
  ~LoopWatch() override { loop_->stop(fd_, key_); }

 private:
  std::shared_ptr<Loop> loop_;
  int fd_;
  uint64_t key_;
};

}  // namespace

std::unique_ptr<Monitor::Watch> Monitor::watch(int fd, OnHangUp on_hang_up) {
  static std::mutex mutex;
  static std::weak_ptr<Loop> running;
  std::shared_ptr<Loop> loop;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    loop = running.lock();
    if (loop == nullptr) running = loop = std::make_shared<Loop>();
  }
  return std::make_unique<LoopWatch>(std::move(loop), fd, std::move(on_hang_up));
}

}  // namespace tw::net
