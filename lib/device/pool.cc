#include "lib/device/pool.h"

#include <sched.h>

#include <algorithm>

#include "lib/base/log.h"
#include "lib/base/thread.h"

namespace tw {
namespace {

constexpr int kSpins = 2000;  // about 50 us: launches that follow each other find workers awake
constexpr int kYields = 100;  // then; after that the thread sleeps

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  sched_yield();
#endif
}

/// Returns when `word` is no longer `old`; its value (acquire). Spins, yields, then sleeps.
uint32_t wait_for_change(const std::atomic<uint32_t>& word, uint32_t old, bool spin) {
  for (int i = 0; i < (spin ? kSpins : 0) + kYields; ++i) {
    const uint32_t value = word.load(std::memory_order_acquire);
    if (value != old) return value;
    if (spin && i < kSpins)
      pause();
    else
      sched_yield();
  }
  word.wait(old, std::memory_order_acquire);
  return word.load(std::memory_order_acquire);
}

}  // namespace

Pool::~Pool() {
  ending_.store(true, std::memory_order_relaxed);
  for (const auto& worker : workers_) {
    worker->posted.fetch_add(1, std::memory_order_release);
    worker->posted.notify_one();
  }
  for (const auto& worker : workers_) worker->thread.join();
}

/// Returns how many of `threads` workers there are. A launch must not fail: its call has been
/// numbered, and peers wait for it.
int Pool::start_until(int threads) {
  try {
    while (workers_.size() < static_cast<size_t>(threads)) {
      auto worker = std::make_unique<Worker>();
      workers_.reserve(workers_.size() + 1);
      const int number = static_cast<int>(workers_.size()) + 1;
      Worker& started = *worker;
      started.thread =
          start_thread("tw-worker", [this, &started, number] { work(started, number); });
      workers_.push_back(std::move(worker));
    }
  } catch (const std::exception& error) {
    if (!short_of_threads_)
      TW_LOGF(TW_LOG_WARN, "launches run on %zu threads, not %d: %s", workers_.size() + 1,
              threads + 1, error.what());
    short_of_threads_ = true;
  }
  return std::min(threads, static_cast<int>(workers_.size()));
}

void Pool::take_blocks(const Job& job, int first) {
  const DefaultFloatMode mode;  // workers have that of whoever started them
  for (int block = first; block < job.blocks; block += job.stride)
    job.entry(job.args, block, job.blocks);
}

void Pool::run(CpuEntry entry, const void* args, int blocks, int threads, bool spin) {
  threads = std::min(threads, blocks - 1);
  const std::unique_lock<std::mutex> lock(run_mutex_, std::try_to_lock);
  if (lock && threads > 0) threads = start_until(threads);
  if (!lock || threads <= 0) return take_blocks({entry, args, blocks, 1, spin}, 0);
  job_ = {entry, args, blocks, threads + 1, spin};
  pending_.store(static_cast<uint32_t>(threads), std::memory_order_relaxed);
  for (int i = 0; i < threads; ++i) {
    std::atomic<uint32_t>& posted = workers_[static_cast<size_t>(i)]->posted;
    posted.fetch_add(1, std::memory_order_release);
    posted.notify_one();  // no system call when the worker is awake
  }
  take_blocks(job_, 0);
  wait_for_workers(spin);
}

void Pool::wait_for_workers(bool spin) {
  for (uint32_t left = pending_.load(std::memory_order_acquire); left != 0;)
    left = wait_for_change(pending_, left, spin);
}

void Pool::work(Worker& worker, int number) {
  bool spin = false;
  for (uint32_t seen = 0;;) {
    seen = wait_for_change(worker.posted, seen, spin);
    if (ending_.load(std::memory_order_relaxed)) return;
    const Job job = job_;
    spin = job.spin;
    take_blocks(job, number);
    // The last access to the pool of this job: the caller may return, but not end the pool, since
    // that joins this thread.
    if (pending_.fetch_sub(1, std::memory_order_release) == 1) pending_.notify_one();
  }
}

}  // namespace tw
