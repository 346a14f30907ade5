#include "lib/device/gpu/device.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/device/gpu/images.h"
#include "tilewire/tile/gpu_launch.h"

namespace tw::gpu {
namespace {

Address address_of(const void* pointer) { return reinterpret_cast<Address>(pointer); }

/// Not of cuMemAlloc: cuMemFree waits for launches.
class Allocation : public DeviceMemory {
 public:
  Allocation(Heaps& heaps, size_t bytes) : heap_(heaps.create()) { heap_->grow(0, bytes); }
  char* data() const override { return heap_->segment(0); }

 private:
  const std::shared_ptr<Heap> heap_;
};

int attribute(const Driver& driver, DeviceId device, Attribute which) {
  int value = 0;
  TW_GPU(driver, cuDeviceGetAttribute, &value, which, device);
  return value;
}

std::string hex(const Uuid& uuid) {
  std::string out;
  for (const char byte : uuid.bytes) out += text("%02x", static_cast<unsigned char>(byte));
  return out;
}

}  // namespace

GpuDevice::GpuDevice(int ordinal) : driver_(Driver::get()), ordinal_(ordinal) {
  queued_.store(1, std::memory_order_relaxed);  // never idle: see Device::idle
  if (ordinal < 0 || ordinal >= driver_.gpus())
    fail(TW_ERROR_INVALID_ARGUMENT, "GPU %d; valid: 0 to %d, the GPUs of this process", ordinal,
         driver_.gpus() - 1);
  TW_GPU(driver_, cuDeviceGet, &device_, ordinal);
  const int major = attribute(driver_, device_, kCapabilityMajor);
  const int minor = attribute(driver_, device_, kCapabilityMinor);
  const std::optional<GpuTarget> target = target_of(major, minor);
  if (!target)
    fail(TW_ERROR_UNSUPPORTED, "GPU %d has compute capability %d.%d; valid: 8.0 and above", ordinal,
         major, minor);
  if (attribute(driver_, device_, kVirtualMemory) == 0 ||
      attribute(driver_, device_, kPosixHandles) == 0)
    fail(TW_ERROR_UNSUPPORTED,
         "GPU %d cannot share memory by descriptors (cuMemCreate with "
         "CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR), which windows need",
         ordinal);
  target_ = *target;
  sms_ = attribute(driver_, device_, kMultiprocessorCount);
  Uuid uuid;
  TW_GPU(driver_, cuDeviceGetUuid, &uuid, device_);
  identity_ = hex(uuid);
  TW_GPU(driver_, cuDevicePrimaryCtxRetain, &context_, device_);
  const ContextScope scope(driver_, context_);
  TW_GPU(driver_, cuStreamCreate, &utility_, kNonBlocking);
  TW_GPU(driver_, cuEventCreate, &tail_, kDisableTiming);
  stages_ = std::make_unique<StageRing>(driver_);
}

GpuDevice::~GpuDevice() {
  {
    const ContextScope scope(driver_, context_);
    stages_.reset();
    tensor_maps_.free_all();
    small_memory_.free_all();
    words_.free_all();
    for (const auto& [image, kernel] : kernels_) driver_.cuModuleUnload(kernel.module);
    driver_.cuEventDestroy(tail_);
    driver_.cuStreamDestroy(utility_);
  }
  driver_.cuDevicePrimaryCtxRelease(device_);
}

CpuTarget GpuDevice::target() const {
  fail(TW_ERROR_UNSUPPORTED,
       "this call runs on CPUs only, and the comm's device is GPU %d; valid: a comm whose device "
       "kind is cpu",
       ordinal_);
}

/// A program of the user's does not say so but by what TW_TILE_KERNEL left in its image.
bool GpuDevice::is_tile_program(Module module, const char* name) const {
  Address address = 0;
  size_t bytes = 0;
  const std::string shared = std::string(name) + "_shared";
  return driver_.cuModuleGetGlobal(&address, &bytes, module, shared.c_str()) == kSuccess;
}

Kernel GpuDevice::kernel(const KernelImage& image) {
  const std::lock_guard<std::mutex> lock(kernels_mutex_);
  Kernel kernel;
  if (const auto found = kernels_.find(&image); found != kernels_.end()) {
    kernel.gpu = &found->second;
    return kernel;
  }
  const ContextScope scope(driver_, context_);
  LoadedKernel loaded{};
  loaded.module = load_image(driver_, image.gpu[static_cast<int>(target_)], image.name);
  const std::string entry = std::string(image.name) + "_entry";
  TW_GPU(driver_, cuModuleGetFunction, &loaded.function, loaded.module, entry.c_str());
  loaded.threads = kMessageThreads;
  if (image.is_tile_program || is_tile_program(loaded.module, image.name)) {
    const TileLaunch& how = target_ == GpuTarget::kSm90a ? kSm90aTiles : kSm80Tiles;
    loaded.threads = static_cast<unsigned>(how.threads);
    loaded.shared_bytes = static_cast<unsigned>(how.shared_bytes);
    TW_GPU(driver_, cuFuncSetAttribute, loaded.function, kMaxDynamicShared,
           static_cast<int>(how.shared_bytes));
  }
  kernel.gpu = &kernels_.emplace(&image, loaded).first->second;
  return kernel;
}

bool GpuDevice::is_capturing(tw_stream_t stream) {
  const ContextScope scope(driver_, context_);
  int status = 0;
  TW_GPU(driver_, cuStreamIsCapturing, static_cast<StreamHandle>(stream), &status);
  return status == kCaptureActive;
}

// Under issue_mutex_, since it is called by what `issue` runs.
template <class Queue>
void GpuDevice::in_order(Queue work) {
  const ContextScope scope(driver_, context_);
  const bool captured = is_capturing(stream_);
  if (!captured && has_tail_ && tail_stream_ != stream_)
    TW_GPU(driver_, cuStreamWaitEvent, stream_, tail_, 0);
  work();
  if (captured) return;
  stages_->launched(stream_);
  TW_GPU(driver_, cuEventRecord, tail_, stream_);
  tail_stream_ = stream_;
  has_tail_ = true;
}

void GpuDevice::launch(const Kernel& kernel, const void* args, int blocks) {
  const auto& loaded = *static_cast<const LoadedKernel*>(kernel.gpu);
  in_order([&] {
    void* parameters[] = {const_cast<void*>(args)};
    TW_GPU(driver_, cuLaunchKernel, loaded.function, static_cast<unsigned>(blocks), 1, 1,
           loaded.threads, 1, 1, loaded.shared_bytes, stream_, parameters, nullptr);
    launches_.fetch_add(1, std::memory_order_relaxed);
  });
}

tw_status_t GpuDevice::issue(tw_stream_t stream, Work work, const void* /*owner*/) {
  const std::lock_guard<std::mutex> lock(issue_mutex_);
  stream_ = static_cast<StreamHandle>(stream);
  stages_->drop();
  return work();
}

void GpuDevice::drain() {
  {
    const std::lock_guard<std::mutex> lock(issue_mutex_);
    if (!has_tail_) return;
  }
  // Not under the lock: what is launched meanwhile need not be waited for, but may be.
  const ContextScope scope(driver_, context_);
  if (const Result result = driver_.cuEventSynchronize(tail_); result != kSuccess)
    TW_LOGF(TW_LOG_ERROR, "GPU %d: its launches ended with %s", ordinal_,
            driver_.error_text(result).c_str());
}

std::unique_ptr<DeviceMemory> GpuDevice::allocate(size_t bytes) {
  if (bytes <= SmallMemory::kMost) return small_memory_.take(bytes);
  return std::make_unique<Allocation>(heaps_, bytes);
}

void GpuDevice::write(void* to, const void* from, size_t bytes) {
  const ContextScope scope(driver_, context_);
  TW_GPU(driver_, cuMemcpyHtoDAsync, address_of(to), from, bytes, utility_);
  TW_GPU(driver_, cuStreamSynchronize, utility_);
}

void GpuDevice::read(void* to, const void* from, size_t bytes) {
  const ContextScope scope(driver_, context_);
  TW_GPU(driver_, cuMemcpyDtoHAsync, to, address_of(from), bytes, utility_);
  TW_GPU(driver_, cuStreamSynchronize, utility_);
}

void GpuDevice::copy(void* to, const void* from, size_t bytes) {
  in_order(
      [&] { TW_GPU(driver_, cuMemcpyAsync, address_of(to), address_of(from), bytes, stream_); });
}

void GpuDevice::copy_rows(void* to, size_t to_stride, const void* from, size_t from_stride,
                          size_t rows, size_t row_bytes) {
  if (rows == 0 || row_bytes == 0) return;
  Copy2D how{};
  how.from_kind = how.to_kind = kAnyMemory;
  how.from = address_of(from);
  how.from_stride = std::max(from_stride, row_bytes);  // of one row it may be anything
  how.to = address_of(to);
  how.to_stride = std::max(to_stride, row_bytes);
  how.bytes = row_bytes;
  how.rows = rows;
  in_order([&] { TW_GPU(driver_, cuMemcpy2DAsync, &how, stream_); });
}

const void* GpuDevice::tensor_map(const void* data, size_t stride, size_t lines, size_t k,
                                  tw_type_t type, bool may_make) {
  if (target_ != GpuTarget::kSm90a) return nullptr;
  return tensor_maps_.find({address_of(data), stride, lines, k, type}, may_make);
}

void GpuDevice::zero(Address at, size_t bytes) {
  const ContextScope scope(driver_, context_);
  TW_GPU(driver_, cuMemsetD8Async, at, 0, bytes, utility_);
  TW_GPU(driver_, cuStreamSynchronize, utility_);
}

std::unique_ptr<MeetingWords> GpuDevice::meeting_words() {
  const ContextScope scope(driver_, context_);
  return words_.take();
}

const void* GpuDevice::stage(const void* data, size_t bytes) {
  const ContextScope scope(driver_, context_);
  return stages_->add(data, bytes);
}

void GpuDevice::check_stage(tw_stream_t stream, size_t bytes) {
  const ContextScope scope(driver_, context_);
  if (is_capturing(stream))
    fail(TW_ERROR_UNSUPPORTED,
         "a call that takes arrays of counts, or a message, cannot be captured into a graph on a "
         "GPU; valid: outside of capture, or a collective with equal counts");
  if (bytes > StageRing::kSlotBytes)
    fail(TW_ERROR_OUT_OF_RESOURCES,
         "a launch on a GPU takes %zu bytes of counts or messages with it; valid: up to %zu", bytes,
         StageRing::kSlotBytes);
}

void GpuDevice::check_reach(const void* data, const char* name) {
  const ContextScope scope(driver_, context_);
  unsigned type = 0;
  if (driver_.cuPointerGetAttribute(&type, kMemoryType, address_of(data)) == kSuccess && type != 0)
    return;
  fail(TW_ERROR_INVALID_ARGUMENT,
       "%s = %p is memory that GPU %d does not reach; valid: a window, memory of the GPU, or host "
       "memory that CUDA allocated or registered",
       name, data, ordinal_);
}

std::shared_ptr<Device> open_device(int ordinal) {
  static std::mutex mutex;
  static std::map<int, std::weak_ptr<GpuDevice>>& open =
      *new std::map<int, std::weak_ptr<GpuDevice>>;
  const std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<GpuDevice> device = open[ordinal].lock();
  if (device == nullptr) {
    device = std::make_shared<GpuDevice>(ordinal);
    open[ordinal] = device;
  }
  return device;
}

}  // namespace tw::gpu
