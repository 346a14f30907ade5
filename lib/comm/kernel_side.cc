#include "lib/comm/kernel_side.h"

#include <chrono>

#include "lib/base/thread.h"
#include "lib/comm/comm.h"

namespace tw {
namespace {

/// How often a watch looks: far less than a dead peer may take to be noticed.
constexpr auto kLook = std::chrono::milliseconds(2);

}  // namespace

/// The beginning of the memory; the addresses of the heaps and the segment table follow.
struct KernelSide::Words {
  alignas(128) uint64_t epoch;
  uint64_t finished;
  alignas(128) WaitContext wait;  // of GPUs
  alignas(128) BlockState states[kMostBlocks];
  char* heaps[kMaxRanks];
};

KernelSide::KernelSide(Device& device, const std::vector<char*>& heaps, WaitContext* wait,
                       RankControl& own)
    : device_(device),
      ranks_(heaps.size()),
      memory_(device.allocate(sizeof(Words) + size_t{kMaxSegments} * ranks_ * sizeof(char*))),
      wait_(wait) {
  device.write(words()->heaps, heaps.data(), heaps.size() * sizeof(char*));
  if (device.is_host()) return;
  shown_ = device.show(&own, sizeof own);
  const auto seen = [&](const void* host) {
    return shown_->data() + (static_cast<const char*>(host) - reinterpret_cast<char*>(&own));
  };
  HostControl& control = host_control(own);
  WaitContext there{};
  there.abort = reinterpret_cast<uint64_t*>(seen(&control.stop));
  there.timeout_ns = wait->timeout_ns;
  there.failure = reinterpret_cast<WaitFailure*>(seen(&control.kernel_failure));
  wait_ = &words()->wait;
  device.write(wait_, &there, sizeof there);
}

KernelSide::Words* KernelSide::words() const { return reinterpret_cast<Words*>(memory_->data()); }

CommView KernelSide::view(int rank, const CommLayout& layout) const {
  Words* const w = words();
  return {kCommLayoutVersion,
          rank,
          static_cast<int>(ranks_),
          layout,
          w->heaps,
          reinterpret_cast<char* const*>(w + 1),
          &w->epoch,
          &w->finished,
          w->states,
          wait_};
}

void KernelSide::set_segment(int index, const std::vector<char*>& at) {
  char** const table = reinterpret_cast<char**>(words() + 1);
  device_.write(table + static_cast<size_t>(index) * ranks_, at.data(), at.size() * sizeof(char*));
}

uint64_t KernelSide::epoch() const {
  if (device_.is_host()) return __atomic_load_n(&words()->epoch, __ATOMIC_RELAXED);
  uint64_t value = 0;
  device_.read(&value, &words()->epoch, sizeof value);
  return value;
}

const uint64_t* KernelSide::completed() const {
  static const uint64_t none = 0;
  return device_.is_host() ? &words()->epoch : &none;
}

KernelWatch::KernelWatch(Comm& comm)
    : comm_(comm),
      failure_(host_control(comm.control_block(comm.rank())).kernel_failure),
      thread_(start_thread("tw-gpu-watch", [this] { run(); })) {}

KernelWatch::~KernelWatch() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void KernelWatch::run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!ending_) {
    if (__atomic_load_n(&failure_.status, __ATOMIC_ACQUIRE) != 0) {
      lock.unlock();
      return end_by_failure(comm_, failure_);
    }
    changed_.wait_for(lock, kLook);
  }
}

}  // namespace tw
