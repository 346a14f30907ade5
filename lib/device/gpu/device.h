// One GPU as a device: its primary context, kernels, memory, and the order of launches.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "lib/device/device.h"
#include "lib/device/gpu/driver.h"
#include "lib/device/gpu/heap.h"
#include "lib/device/gpu/small_memory.h"
#include "lib/device/gpu/stage.h"
#include "lib/device/gpu/tensor_maps.h"
#include "lib/device/gpu/words_pool.h"
#include "lib/device/gpu_images.h"

namespace tw::gpu {

/// A kernel as it is launched on one GPU.
struct LoadedKernel {
  Module module;
  Function function;
  unsigned threads;
  unsigned shared_bytes;
};

/// Launches are asynchronous. Order: a launch on another stream than the one before waits for it by
/// an event, so that launches of this GPU, of all comms and streams, run one after the other in the
/// order of the calls. A stream that is being captured is left out: what a graph holds is ordered
/// by its stream, and replays by whoever launches the graph.
class GpuDevice : public Device {
 public:
  explicit GpuDevice(int ordinal);
  ~GpuDevice() override;

  int ordinal() const override { return ordinal_; }
  tw_device_kind_t kind() const override { return TW_DEVICE_GPU; }
  CpuTarget target() const override;
  uint32_t target_number() const override {
    return static_cast<uint32_t>(kCpuTargets) + static_cast<uint32_t>(target_);
  }
  const Framing& framing() const override { return kGpuFraming; }
  int blocks() const override { return sms_; }
  std::string identity() const override { return identity_; }

  Kernel kernel(const KernelImage& image) override;
  void launch(const Kernel& kernel, const void* args, int blocks) override;
  tw_status_t issue(tw_stream_t stream, Work work, const void* owner) override;
  void check_stream(tw_stream_t /*stream*/) const override {}
  void drain() override;
  void forget(const void* /*owner*/) override {}
  void share(int /*workers*/, bool /*crowded*/) override {}

  Heaps* heaps() override { return &heaps_; }
  std::unique_ptr<DeviceMemory> allocate(size_t bytes) override;
  void write(void* to, const void* from, size_t bytes) override;
  void read(void* to, const void* from, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  void copy_rows(void* to, size_t to_stride, const void* from, size_t from_stride, size_t rows,
                 size_t row_bytes) override;
  bool is_capturing(tw_stream_t stream) override;
  const void* tensor_map(const void* data, size_t stride, size_t lines, size_t k, tw_type_t type,
                         bool may_make) override;
  std::unique_ptr<MeetingWords> meeting_words() override;
  const void* stage(const void* data, size_t bytes) override;
  void check_stage(tw_stream_t stream, size_t bytes) override;
  void check_reach(const void* data, const char* name) override;

  const Driver& driver() const { return driver_; }
  Context context() const { return context_; }
  /// Sets device memory to zero; returns when it is.
  void zero(Address at, size_t bytes);

 private:
  void throw_queued(const void* /*owner*/) override {}
  bool is_tile_program(Module module, const char* name) const;
  /// What `work` queues on the stream of the call being issued, behind all that was queued before.
  template <class Queue>
  void in_order(Queue work);

  const Driver& driver_;
  const int ordinal_;
  DeviceId device_ = 0;
  Context context_ = nullptr;
  GpuTarget target_ = GpuTarget::kSm80;
  int sms_ = 0;
  std::string identity_;
  StreamHandle utility_ = nullptr;  // copies and fills of the library's own
  GpuHeaps heaps_{*this};

  WordsPool words_{driver_};

  SmallMemory small_memory_{*this};
  TensorMaps tensor_maps_{*this};

  std::mutex kernels_mutex_;
  std::map<const KernelImage*, LoadedKernel> kernels_;  // its places are what Kernel points to

  std::mutex issue_mutex_;         // one call after the other is issued
  StreamHandle stream_ = nullptr;  // of the call being issued
  EventHandle tail_ = nullptr;     // after the last launch
  StreamHandle tail_stream_ = nullptr;
  bool has_tail_ = false;
  std::unique_ptr<StageRing> stages_;
};

/// The GPU of this process with that ordinal; comms share it. Throws UNSUPPORTED where there is no
/// driver or its architecture has no kernels, INVALID_ARGUMENT naming the ordinals that there are.
std::shared_ptr<Device> open_device(int ordinal);

}  // namespace tw::gpu
