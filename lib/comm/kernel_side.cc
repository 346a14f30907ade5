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

KernelSide::KernelSide(Device& device, const std::vector<char*>& heaps, WaitContext* wait)
    : device_(device),
      ranks_(heaps.size()),
      memory_(device.allocate(sizeof(Words) + size_t{kMaxSegments} * ranks_ * sizeof(char*))),
      words_met_(device.meeting_words()),
      wait_(wait) {
  device.write(words()->heaps, heaps.data(), heaps.size() * sizeof(char*));
  if (words_met_ == nullptr) return;
  static_assert(sizeof(Meeting) <= MeetingWords::kBytes);
  Meeting* const seen = reinterpret_cast<Meeting*>(words_met_->device());
  WaitContext there{};
  there.abort = &seen->stop;
  there.timeout_ns = wait->timeout_ns;
  there.failure = &seen->failure;
  wait_ = &words()->wait;
  device.write(wait_, &there, sizeof there);
}

KernelSide::Meeting* KernelSide::meeting() const {
  return words_met_ == nullptr ? nullptr : reinterpret_cast<Meeting*>(words_met_->host());
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

KernelWatch::KernelWatch(Comm& comm, KernelSide::Meeting& meeting)
    : comm_(comm), meeting_(meeting), thread_(start_thread("tw-gpu-watch", [this] { run(); })) {}

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
    lock.unlock();
    if (__atomic_load_n(&meeting_.failure.status, __ATOMIC_ACQUIRE) != 0)
      end_by_failure(comm_, meeting_.failure);
    if (comm_.ended()) return __atomic_store_n(&meeting_.stop, 1, __ATOMIC_RELEASE);
    lock.lock();
    changed_.wait_for(lock, kLook, [this] { return ending_; });
  }
}

}  // namespace tw
