// The seam to a device: launch kernels and queue work in issue order.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "lib/device/float_mode.h"
#include "lib/device/heap.h"
#include "tilewire.h"
#include "tilewire/tile/comm_view.h"

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

struct GpuImage;

/// One kernel as built into this library (rows of kernels/{kernels,tile_kernels}.def). Entries are
/// null where it was not built for a target.
struct KernelImage {
  const char* name;
  CpuEntry cpu[kCpuTargets];
  size_t args_bytes;
  const GpuImage* gpu;   // [kGpuTargets]
  bool is_tile_program;  // launched on GPUs as tile/gpu_launch.h says; a user's: not known here

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

/// A kernel as one device launches it: what Device::kernel returned.
struct Kernel {
  Kernel() = default;
  Kernel(CpuEntry on_cpu) : cpu(on_cpu) {}  // NOLINT(google-explicit-constructor): an entry is one
  CpuEntry cpu = nullptr;                   // null on GPUs
  const void* gpu = nullptr;                // a gpu::LoadedKernel; null on CPUs
};

/// Memory of a device for its kernels. Ends with the object, which waits for nobody: a call that
/// waited for the launches of a GPU could wait for one whose peer waits for this thread.
class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;
  /// The address by which the device's kernels know it.
  virtual char* data() const = 0;
};

/// Words that this process and the device's kernels both read and write while the kernels run.
class MeetingWords {
 public:
  virtual ~MeetingWords() = default;
  static constexpr size_t kBytes = 512;  // zeroed, aligned to 128
  virtual char* host() const = 0;
  virtual char* device() const = 0;
};

/// What queued work does: throws Error, or returns a status whose sentence it has reported.
using Work = std::function<tw_status_t()>;

/// One CPU device (worker threads, cpu.cc) or GPU (gpu/device.h), and the order of its launches.
/// Comms of one rank share it.
class Device {
 public:
  virtual ~Device() = default;

  virtual tw_device_kind_t kind() const = 0;
  virtual int ordinal() const = 0;
  /// The same for what is the same hardware, in any process; "" where sharing it does not matter.
  virtual std::string identity() const = 0;

  /// The CPU target that its kernels are launched for, chosen when the device was made. Throws
  /// UNSUPPORTED on GPUs: what asks is written for CPUs only.
  virtual CpuTarget target() const = 0;
  /// A number for what its kernels were compiled for, equal where products have equal bits: a
  /// CpuTarget, or kCpuTargets + a GpuTarget.
  virtual uint32_t target_number() const = 0;
  /// How its kernels frame packets and cut work.
  virtual const Framing& framing() const = 0;
  /// Blocks that run at once.
  virtual int blocks() const = 0;

  // ---- Launches ----

  /// Throws what loading it can: UNSUPPORTED, OUT_OF_MEMORY.
  virtual Kernel kernel(const KernelImage& image) = 0;

  /// Runs all blocks of a kernel, on CPUs until they are done: block 0 in this thread, each thread
  /// in increasing order. There may be more blocks than workers, or all of them run here when
  /// another thread is launching. On GPUs it queues them on the stream of the call being issued;
  /// `args` may go when it returns. Throws SYSTEM with the driver's words.
  virtual void launch(const Kernel& kernel, const void* args, int blocks) = 0;

  /// Launches so far.
  uint64_t launches() const { return launches_.load(std::memory_order_relaxed); }

  /// True when nothing is queued: then inline work may simply run. Never on GPUs, where `issue`
  /// says on which stream. One load.
  bool idle() const { return queued_.load(std::memory_order_acquire) == 0; }

  /// Runs `work` in the device's issue order.
  /// CPUs: in this thread after what was issued before it, when `stream` is null, else queued on
  /// `stream`. Inline: work's status, or it throws. Queued: TW_OK, and an error surfaces at the
  /// owner's next check_queued and at synchronise. Throws INVALID_HANDLE for a bad stream.
  /// GPUs: in this thread at once; what it launches is queued on `stream`, a CUstream (null: the
  /// default stream), behind what was launched before.
  /// `owner`: the comm whose call it is.
  virtual tw_status_t issue(tw_stream_t stream, Work work, const void* owner = nullptr) = 0;

  /// Throws INVALID_HANDLE for what is known to be no stream of this device.
  virtual void check_stream(tw_stream_t stream) const = 0;

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

  // ---- Memory ----

  /// Heaps in the device's own memory; null where that is the host's (host_heaps).
  virtual Heaps* heaps() { return nullptr; }
  /// Whether kernels and the host reach all that the other has. Then waits in kernels call the host
  /// (WaitContext::slow).
  bool is_host() const { return kind() == TW_DEVICE_CPU; }

  /// Zeroed memory for this device's kernels. Throws OUT_OF_MEMORY.
  virtual std::unique_ptr<DeviceMemory> allocate(size_t bytes) = 0;
  /// Copies to and from memory of the device; over when it returns. Waits for no launch.
  virtual void write(void* to, const void* from, size_t bytes) = 0;
  virtual void read(void* to, const void* from, size_t bytes) = 0;

  /// Copies between any memory that the device reaches, in the order of its launches: on GPUs on
  /// the stream of the call being issued.
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  /// The same for `rows` rows of `row_bytes`, from and to rows that lie strides of bytes apart.
  virtual void copy_rows(void* to, size_t to_stride, const void* from, size_t from_stride,
                         size_t rows, size_t row_bytes) = 0;

  /// Whether what is issued on `stream` goes into a graph, to run when that is launched, perhaps
  /// more than once.
  virtual bool is_capturing(tw_stream_t /*stream*/) { return false; }

  /// For Operand::tensor_map: of `lines` lines of `k` elements, lines `stride` elements apart. Null
  /// where there is none. Stays valid while the device lives. Not `may_make`: only one that there
  /// is.
  virtual const void* tensor_map(const void* /*data*/, size_t /*stride*/, size_t /*lines*/,
                                 size_t /*k*/, tw_type_t /*type*/, bool /*may_make*/) {
    return nullptr;
  }

  /// Null on CPUs, where all memory is that.
  virtual std::unique_ptr<MeetingWords> meeting_words() { return nullptr; }

  /// `data` itself, or a copy that the kernel of the next launch may read and write; the copy stays
  /// until that launch is done. Within `issue`.
  virtual const void* stage(const void* data, size_t bytes) = 0;
  /// Throws UNSUPPORTED when a launch on `stream` cannot have copies (it is being captured), and
  /// OUT_OF_RESOURCES when it cannot have so many bytes of them. Before the call is numbered.
  virtual void check_stage(tw_stream_t stream, size_t bytes) = 0;

  /// Throws INVALID_ARGUMENT naming `name` when kernels cannot reach what a caller passed.
  virtual void check_reach(const void* data, const char* name) = 0;

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
