// The seam to a device: launch kernels and queue work in issue order.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>

#include "tilewire.h"

namespace tw {

/// CPU targets, best first; the entries of a kernel's row.
enum class CpuTarget { kAvx512, kAvx2, kPortable };
inline constexpr int kCpuTargets = 3;

/// Runs block `block` of `blocks` of a kernel.
using CpuEntry = void (*)(const void* args, int block, int blocks);

/// One kernel as built into this library (rows of kernels/kernels.def). Entries may be null where a
/// target was not built.
struct KernelImage {
  const char* name;
  CpuEntry cpu[kCpuTargets];
  size_t args_bytes;
};

/// The instruction sets' choice: TW_DEVICE_TARGET, else the best that this CPU runs.
/// Throws INVALID_ARGUMENT / UNSUPPORTED naming the value and what this CPU can run.
CpuTarget cpu_target();
const char* cpu_target_name(CpuTarget target);

/// True when this CPU (and its operating system) runs code of the target.
bool cpu_runs(CpuTarget target);

/// What queued work does: throws Error, or returns a status whose sentence it has reported.
using Work = std::function<tw_status_t()>;

/// One CPU device: worker threads, and the order of launches. Comms of one rank (splits) share it.
class Device {
 public:
  virtual ~Device() = default;

  /// Blocks that can run at once: caller and workers.
  virtual int blocks() const = 0;

  /// Runs all blocks of a kernel and returns when they are done: block 0 in this thread, the others
  /// in increasing order on the workers (and here, when there are more blocks than workers).
  virtual void launch(CpuEntry entry, const void* args, int blocks) = 0;

  /// True when nothing is queued: then inline work may simply run. One load.
  bool idle() const { return queued_.load(std::memory_order_acquire) == 0; }

  /// Runs `work` in the device's issue order: in this thread after what was issued before it, when
  /// `stream` is null, else queued on `stream`. Inline: work's status, or it throws. Queued: TW_OK,
  /// and an error surfaces at the next call and at synchronise. Throws INVALID_HANDLE for a bad
  /// stream.
  virtual tw_status_t issue(tw_stream_t stream, Work work) = 0;

  /// Throws the first error of queued work since the last time, when there was one.
  void check_queued() {
    if (__builtin_expect(failed_.load(std::memory_order_acquire), 0)) throw_queued();
  }

 protected:
  virtual void throw_queued() = 0;
  std::atomic<int> queued_{0};
  std::atomic<bool> failed_{false};
};

/// `workers` >= 1: the caller's thread and workers - 1 pool threads, started when first needed.
std::shared_ptr<Device> create_cpu_device(int workers);

}  // namespace tw
