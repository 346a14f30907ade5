// The seam to a device: launch kernels and queue work in issue order.
#pragma once

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

/// One CPU device: worker threads, and the order of launches. Comms of one rank (splits) share it.
class Device {
 public:
  virtual ~Device() = default;

  /// Blocks that can run at once: caller and workers.
  virtual int blocks() const = 0;

  /// Runs all blocks of a kernel and returns when they are done: block 0 in this thread.
  virtual void launch(CpuEntry entry, const void* args, int blocks) = 0;

  /// Runs `work` in the device's issue order: now, in this thread, when `stream` is null (after
  /// what was issued before it), else queued on `stream`. Its status is this call's (inline) or
  /// surfaces at the next call and at synchronise (queued).
  virtual tw_status_t issue(tw_stream_t stream, std::function<tw_status_t()> work) = 0;

  /// First error of queued work since the last call; TW_OK when there was none.
  virtual tw_status_t take_queued_error() = 0;
};

/// `workers` >= 1: the caller's thread and workers - 1 pool threads, started when first needed.
std::shared_ptr<Device> create_cpu_device(int workers);

}  // namespace tw
