// The seam to a device: launch kernels and queue work in issue order.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>

#include "lib/device/float_mode.h"
#include "tilewire.h"

namespace tw {

/// CPU targets, best first: each runs what the ones after it were compiled for. The first two exist
/// for matrix multiplication only; other kernels have no entries for them.
enum class CpuTarget { kAmx, kAvx512Bf16, kAvx512, kAvx2, kPortable };
inline constexpr int kCpuTargets = 5;

/// Runs block `block` of `blocks` of a kernel.
using CpuEntry = void (*)(const void* args, int block, int blocks);

/// Runs the one block of a launch in this thread, as Device::launch does.
inline void run_alone(CpuEntry entry, const void* args) {
  const DefaultFloatMode mode;
  entry(args, 0, 1);
}

/// One kernel as built into this library (rows of kernels/{kernels,tile_kernels}.def). Entries are
/// null where it was not built for a target.
struct KernelImage {
  const char* name;
  CpuEntry cpu[kCpuTargets];
  size_t args_bytes;

  /// The entry for `target`, or for the next narrower one that there is.
  constexpr CpuEntry entry(CpuTarget target) const {
    for (int i = static_cast<int>(target); i < kCpuTargets - 1; ++i)
      if (cpu[i] != nullptr) return cpu[i];
    return cpu[kCpuTargets - 1];
  }
};

/// The instruction sets' choice: TW_DEVICE_TARGET, else the best that this CPU runs.
/// Throws INVALID_ARGUMENT / UNSUPPORTED naming the value and what this CPU can run.
CpuTarget cpu_target();
const char* cpu_target_name(CpuTarget target);

/// True when this CPU (and its operating system) runs code of the target. The first question about
/// kAmx asks the operating system to let this process use tiles.
bool cpu_runs(CpuTarget target);

/// What queued work does: throws Error, or returns a status whose sentence it has reported.
using Work = std::function<tw_status_t()>;

/// One CPU device: worker threads, and the order of launches. Comms of one rank share it.
class Device {
 public:
  virtual ~Device() = default;

  /// The target that its kernels are launched for, chosen when the device was made.
  virtual CpuTarget target() const = 0;

  /// Runs all blocks of a kernel and returns when they are done: block 0 in this thread, each
  /// thread in increasing order. There may be more blocks than workers, or all of them run here
  /// when another thread is launching.
  virtual void launch(CpuEntry entry, const void* args, int blocks) = 0;

  /// Launches so far.
  uint64_t launches() const { return launches_.load(std::memory_order_relaxed); }

  /// True when nothing is queued: then inline work may simply run. One load.
  bool idle() const { return queued_.load(std::memory_order_acquire) == 0; }

  /// Runs `work` in the device's issue order: in this thread after what was issued before it, when
  /// `stream` is null, else queued on `stream`. Inline: work's status, or it throws. Queued: TW_OK,
  /// and an error surfaces at the owner's next check_queued and at synchronise. Throws
  /// INVALID_HANDLE for a bad stream. `owner`: the comm whose call it is.
  virtual tw_status_t issue(tw_stream_t stream, Work work, const void* owner = nullptr) = 0;

  /// Throws the first error of `owner`'s queued work since the last time, when there was one.
  void check_queued(const void* owner = nullptr) {
    if (__builtin_expect(failed_.load(std::memory_order_acquire), 0)) throw_queued(owner);
  }

  /// Returns when all that is queued now is done: before what it uses goes away.
  virtual void drain() = 0;

  /// Drops `owner`'s errors: it ends.
  virtual void forget(const void* owner) = 0;

  /// One more comm uses the device: its workers become those of the comm that wants most, and it
  /// is crowded when one of them is.
  virtual void share(int workers, bool crowded) = 0;

 protected:
  virtual void throw_queued(const void* owner) = 0;
  std::atomic<int> queued_{0};
  std::atomic<bool> failed_{false};
  std::atomic<uint64_t> launches_{0};
};

/// A device of its own: the caller's thread and `workers` - 1 pool threads (`workers` >= 1),
/// started when first needed. `crowded`: there are fewer cores than threads that want them, so
/// nobody spins. Throws what cpu_target throws.
std::shared_ptr<Device> create_cpu_device(int workers, bool crowded = false);

/// The device of this process, for comms of which it has one rank only; they all share it.
std::shared_ptr<Device> process_cpu_device(int workers, bool crowded);

}  // namespace tw
