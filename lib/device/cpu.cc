// The CPU device: launches, and their order.
//
// Order. Every piece of work that is queued, or made inline while something is queued, takes a
// ticket when it is issued and runs when all earlier tickets are done, whatever stream it is on. So
// launches run one after the other in issue order, across comms and streams of this rank.
#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>

#include "lib/base/error.h"
#include "lib/device/buffer.h"
#include "lib/device/device.h"
#include "lib/device/pool.h"
#include "lib/device/stream.h"

namespace tw {
namespace {

class CpuDevice : public Device, public std::enable_shared_from_this<CpuDevice> {
 public:
  CpuDevice(int workers, bool crowded)
      : target_(cpu_target()), workers_(workers), crowded_(crowded) {}

  tw_device_kind_t kind() const override { return TW_DEVICE_CPU; }
  int ordinal() const override { return 0; }
  std::string identity() const override { return ""; }
  CpuTarget target() const override { return target_; }
  uint32_t target_number() const override { return static_cast<uint32_t>(target_); }
  const Framing& framing() const override { return kCpuFraming; }
  int blocks() const override { return workers_.load(std::memory_order_relaxed); }

  Kernel kernel(const KernelImage& image) override { return image.entry(target_); }

  void share(int workers, bool crowded) override {
    int most = workers_.load(std::memory_order_relaxed);
    while (most < workers && !workers_.compare_exchange_weak(most, workers)) {
    }
    if (crowded) crowded_.store(true, std::memory_order_relaxed);
  }

  void launch(const Kernel& kernel, const void* args, int blocks) override {
    // Launches of a device follow one another, so nothing is lost.
    launches_.store(launches_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    if (blocks == 1) return run_alone(kernel.cpu, args);
    pool_.run(kernel.cpu, args, blocks, workers_.load(std::memory_order_relaxed) - 1,
              !crowded_.load(std::memory_order_relaxed));
  }

  tw_status_t issue(tw_stream_t stream, Work work, const void* owner) override {
    if (stream == nullptr) {
      if (idle()) return work();
      std::unique_lock<std::mutex> lock(mutex_);
      const uint64_t ticket = take_ticket();
      lock.unlock();
      const Turn turn(*this, ticket);
      return work();
    }
    const std::shared_ptr<Stream> queue = stream_of(stream);
    // Ticket and place in the queue are taken together: the tickets of one queue are in its order.
    const std::lock_guard<std::mutex> lock(mutex_);
    const uint64_t ticket = tickets_;
    queue->push([self = shared_from_this(), ticket, owner, work = std::move(work)] {
      const Turn turn(*self, ticket);
      return self->run_queued(work, owner);
    });
    take_ticket();  // the work waits for mutex_ before it looks at its turn
    return TW_OK;
  }

  void check_stream(tw_stream_t stream) const override { stream_of(stream); }

  void drain() override {
    std::unique_lock<std::mutex> lock(mutex_);
    turned_.wait(lock, [this, end = tickets_] { return turn_ >= end; });
  }

  void forget(const void* owner) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    errors_.erase(owner);
    failed_.store(!errors_.empty(), std::memory_order_relaxed);
  }

  std::unique_ptr<DeviceMemory> allocate(size_t bytes) override {
    return std::make_unique<HostMemory>(bytes);
  }
  void write(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void read(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void copy(void* to, const void* from, size_t bytes) override { std::memmove(to, from, bytes); }
  void copy_rows(void* to, size_t to_stride, const void* from, size_t from_stride, size_t rows,
                 size_t row_bytes) override {
    if (row_bytes == 0) return;
    for (size_t i = 0; i < rows; ++i)
      std::memcpy(static_cast<char*>(to) + i * to_stride,
                  static_cast<const char*>(from) + i * from_stride, row_bytes);
  }
  const void* stage(const void* data, size_t /*bytes*/) override { return data; }
  void check_stage(tw_stream_t /*stream*/, size_t /*bytes*/) override {}
  void check_reach(const void* /*data*/, const char* /*name*/) override {}

 private:
  struct HostMemory : DeviceMemory {
    explicit HostMemory(size_t bytes) : buffer(bytes) {}
    char* data() const override { return buffer.data(); }
    const Buffer buffer;
  };

  /// Waits for a ticket's turn, and passes the turn on at the end.
  class Turn {
   public:
    Turn(CpuDevice& device, uint64_t ticket) : device_(device) {
      std::unique_lock<std::mutex> lock(device.mutex_);
      device.turned_.wait(lock, [&] { return device.turn_ == ticket; });
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() {
      const std::lock_guard<std::mutex> lock(device_.mutex_);
      ++device_.turn_;
      device_.queued_.fetch_sub(1, std::memory_order_release);
      device_.turned_.notify_all();
    }

   private:
    CpuDevice& device_;
  };

  /// Under mutex_.
  uint64_t take_ticket() {
    queued_.fetch_add(1, std::memory_order_relaxed);
    return tickets_++;
  }

  /// Never throws: the error is the stream's, and the owner's if there is one.
  std::unique_ptr<Error> run_queued(const Work& work, const void* owner) {
    std::unique_ptr<Error> error;
    try {
      const tw_status_t status = work();
      if (status != TW_OK)
        error = std::make_unique<Error>(status,
                                        text("a queued call failed: %s", tw_status_name(status)));
    } catch (...) {
      error = std::make_unique<Error>(current_error());
    }
    if (error != nullptr && owner != nullptr) {
      const std::lock_guard<std::mutex> lock(mutex_);
      errors_.try_emplace(owner, *error);
      failed_.store(true, std::memory_order_release);
    }
    return error;
  }

  void throw_queued(const void* owner) override {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto found = errors_.find(owner);
    if (found == errors_.end()) return;
    const Error error = found->second;
    errors_.erase(found);
    failed_.store(!errors_.empty(), std::memory_order_relaxed);
    lock.unlock();
    throw Error(error);
  }

  const CpuTarget target_;
  std::atomic<int> workers_;
  std::atomic<bool> crowded_;
  Pool pool_;
  std::mutex mutex_;
  std::condition_variable turned_;
  uint64_t tickets_ = 0;                 // next to give
  uint64_t turn_ = 0;                    // next to run
  std::map<const void*, Error> errors_;  // of queued work, by owner; the first of each
};

}  // namespace

std::shared_ptr<Device> create_cpu_device(int workers, bool crowded) {
  return std::make_shared<CpuDevice>(workers, crowded);
}

std::shared_ptr<Device> process_cpu_device(int workers, bool crowded) {
  static std::mutex mutex;
  static std::weak_ptr<CpuDevice> current;
  const std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<CpuDevice> device = current.lock();
  if (device == nullptr || device->target() != cpu_target()) {
    device = std::make_shared<CpuDevice>(workers, crowded);
    current = device;
  } else {
    device->share(workers, crowded);
  }
  return device;
}

}  // namespace tw
