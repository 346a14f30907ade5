#include "lib/device/gpu/heap.h"

#include <mutex>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/random.h"
#include "lib/base/round.h"
#include "lib/device/gpu/device.h"
#include "lib/device/heap_registry.h"
#include "lib/device/shared_memory.h"

namespace tw::gpu {
namespace {

AllocationProp properties_of(int ordinal) {
  AllocationProp properties{};
  properties.type = kPinned;
  properties.handle_types = kPosixDescriptor;
  properties.location = {kOnDevice, ordinal};
  return properties;
}

/// Physical memory with its address range in this process. Whoever maps it first gives the GPU of
/// its rank rights to it; others ask for theirs.
class Segment {
 public:
  /// The owner's. `bytes`: a multiple of kHugePage, as the peers'.
  Segment(GpuDevice& device, size_t bytes) : driver_(device.driver()), bytes_(bytes) {
    const AllocationProp properties = properties_of(device.ordinal());
    size_t unit = 0;
    TW_GPU(driver_, cuMemGetAllocationGranularity, &unit, &properties, kMinimumGranularity);
    if (bytes % unit != 0)
      fail(TW_ERROR_UNSUPPORTED, "GPU %d allocates memory in units of %zu bytes; valid: up to %zu",
           device.ordinal(), unit, kHugePage);
    TW_GPU(driver_, cuMemCreate, &handle_, bytes_, &properties, 0);
    map(device.ordinal());
    int descriptor = -1;
    TW_GPU(driver_, cuMemExportToShareableHandle, &descriptor, handle_, kPosixDescriptor, 0);
    file_.reset(descriptor);
  }

  /// A peer's in another process.
  Segment(GpuDevice& device, const Fd& file, size_t bytes)
      : driver_(device.driver()), bytes_(bytes) {
    TW_GPU(driver_, cuMemImportFromShareableHandle, &handle_,
           reinterpret_cast<void*>(static_cast<intptr_t>(file.get())), kPosixDescriptor);
    map(device.ordinal());
  }

  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  ~Segment() {
    if (mapped_) driver_.cuMemUnmap(address_, bytes_);
    if (address_ != 0) driver_.cuMemAddressFree(address_, bytes_);
    if (handle_ != 0) driver_.cuMemRelease(handle_);
  }

  Address address() const { return address_; }
  size_t bytes() const { return bytes_; }
  const Fd& file() const { return file_; }

  void admit(int ordinal) {
    const AccessDesc rights{{kOnDevice, ordinal}, kReadWrite};
    TW_GPU(driver_, cuMemSetAccess, address_, bytes_, &rights, 1);
  }

 private:
  void map(int ordinal) {
    TW_GPU(driver_, cuMemAddressReserve, &address_, bytes_, 0, 0, 0);
    TW_GPU(driver_, cuMemMap, address_, bytes_, 0, handle_, 0);
    mapped_ = true;
    admit(ordinal);
  }

  const Driver& driver_;
  size_t bytes_ = 0;
  MemHandle handle_ = 0;
  Address address_ = 0;
  bool mapped_ = false;
  Fd file_;
};

/// A rank's segments as this process has them.
struct Segments {
  std::mutex mutex;
  std::vector<std::shared_ptr<Segment>> all;
};

/// One rank's view of a rank's heap: the segments that its own GPU has rights to.
class GpuHeap : public Heap {
 public:
  enum class Whose { kOwn, kThisProcess, kOtherProcess };

  GpuHeap(GpuDevice& device, uint64_t id, Whose whose, std::shared_ptr<Segments> segments)
      : device_(device), id_(id), whose_(whose), segments_(std::move(segments)) {}
  GpuHeap(const GpuHeap&) = delete;
  GpuHeap& operator=(const GpuHeap&) = delete;
  ~GpuHeap() override {
    if (whose_ == Whose::kOwn) HeapRegistry<Segments>::get().remove(id_);
  }

  uint64_t id() const override { return id_; }

  void grow(int index, size_t bytes) override {
    if (static_cast<size_t>(index) < used_.size()) return;
    const ContextScope scope(device_.driver(), device_.context());
    bytes = round_up(bytes, kHugePage);
    used_.push_back(whose_ == Whose::kOwn           ? make(bytes)
                    : whose_ == Whose::kThisProcess ? ask(index)
                                                    : import(index, bytes));
  }

  void shrink(int index) override {
    if (used_.size() != static_cast<size_t>(index) + 1) return;
    used_.pop_back();
    if (whose_ != Whose::kOwn) return;
    const std::lock_guard<std::mutex> lock(segments_->mutex);
    segments_->all.pop_back();
  }

  bool passes_file(int /*index*/) const override { return true; }
  const Fd& file(int index) const override { return at(index).file(); }
  void receive(int index, Fd file) override {
    received_ = std::move(file);
    received_index_ = index;
  }

  char* segment(int index) const override { return reinterpret_cast<char*>(at(index).address()); }
  size_t segment_bytes(int index) const override { return at(index).bytes(); }

  void clear(int index, size_t offset, size_t bytes) override {
    device_.zero(at(index).address() + offset, bytes);
  }
  void touch(int /*index*/, size_t /*offset*/, size_t /*bytes*/) override {}

 private:
  const Segment& at(int index) const { return *used_.at(static_cast<size_t>(index)); }

  std::shared_ptr<Segment> make(size_t bytes) {
    auto segment = std::make_shared<Segment>(device_, bytes);
    device_.zero(segment->address(), segment->bytes());
    const std::lock_guard<std::mutex> lock(segments_->mutex);
    segments_->all.push_back(segment);
    return segment;
  }

  std::shared_ptr<Segment> ask(int index) {
    const std::lock_guard<std::mutex> lock(segments_->mutex);
    std::shared_ptr<Segment> segment = segments_->all.at(static_cast<size_t>(index));
    segment->admit(device_.ordinal());
    return segment;
  }

  std::shared_ptr<Segment> import(int index, size_t bytes) {
    if (received_index_ != index || !received_)
      fail(TW_ERROR_INTERNAL, "segment %d of a peer's GPU memory grown without its file", index);
    auto segment = std::make_shared<Segment>(device_, received_, bytes);
    received_.reset();
    return segment;
  }

  GpuDevice& device_;
  const uint64_t id_;
  const Whose whose_;
  const std::shared_ptr<Segments> segments_;
  std::vector<std::shared_ptr<Segment>> used_;
  Fd received_;
  int received_index_ = -1;
};

}  // namespace

std::shared_ptr<Heap> GpuHeaps::create() {
  const auto id = random_value<uint64_t>();
  auto segments = std::make_shared<Segments>();
  HeapRegistry<Segments>::get().add(id, segments);
  return std::make_shared<GpuHeap>(device_, id, GpuHeap::Whose::kOwn, std::move(segments));
}

std::shared_ptr<Heap> GpuHeaps::find(uint64_t id) {
  std::shared_ptr<Segments> segments = HeapRegistry<Segments>::get().find(id);
  if (segments == nullptr) return nullptr;
  return std::make_shared<GpuHeap>(device_, id, GpuHeap::Whose::kThisProcess, std::move(segments));
}

std::shared_ptr<Heap> GpuHeaps::adopt(uint64_t id) {
  return std::make_shared<GpuHeap>(device_, id, GpuHeap::Whose::kOtherProcess,
                                   std::make_shared<Segments>());
}

}  // namespace tw::gpu
