#include "lib/device/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "lib/base/error.h"

namespace tw {
namespace {

constexpr int kYields = 200;  // before a worker sleeps

}  // namespace

Pool::~Pool() {
  {
    const std::lock_guard<std::mutex> lock(sleep_mutex_);
    ending_.store(true, std::memory_order_release);
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Pool::start() {
  sigset_t all, before;  // workers take no signal of the program's
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    for (int i = static_cast<int>(threads_.size()); i < wanted_; ++i)
      threads_.emplace_back([this, i] { work(i + 1); });
  } catch (const std::system_error& error) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    fail(TW_ERROR_OUT_OF_RESOURCES, "starting %d worker threads: %s", wanted_, error.what());
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Pool::take_blocks(const Job& job, int first) const {
  for (int block = first; block < job.blocks; block += wanted_ + 1)
    job.entry(job.args, block, job.blocks);
}

void Pool::run(CpuEntry entry, const void* args, int blocks) {
  const std::lock_guard<std::mutex> lock(run_mutex_);
  if (static_cast<int>(threads_.size()) < wanted_) start();
  job_ = {entry, args, blocks};
  pending_.store(wanted_, std::memory_order_relaxed);
  {
    const std::lock_guard<std::mutex> sleep_lock(sleep_mutex_);
    posted_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  take_blocks(job_, 0);
  while (pending_.load(std::memory_order_acquire) != 0) sched_yield();
}

uint64_t Pool::next_job(uint64_t seen) {
  for (int i = 0; i < kYields; ++i) {
    const uint64_t posted = posted_.load(std::memory_order_acquire);
    if (posted != seen || ending_.load(std::memory_order_acquire)) return posted;
    sched_yield();
  }
  std::unique_lock<std::mutex> lock(sleep_mutex_);
  wake_.wait(lock, [&] {
    return posted_.load(std::memory_order_acquire) != seen ||
           ending_.load(std::memory_order_acquire);
  });
  return posted_.load(std::memory_order_acquire);
}

void Pool::work(int thread) {
  for (uint64_t seen = 0;;) {
    const uint64_t posted = next_job(seen);
    if (posted == seen) return;  // ending
    seen = posted;
    take_blocks(job_, thread);
    pending_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace tw
