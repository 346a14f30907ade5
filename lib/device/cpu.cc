// The CPU device: launches, and their order.
//
// Order. Every piece of work that is queued, or made inline while something is queued, takes a
// ticket when it is issued and runs when all earlier tickets are done, whatever stream it is on. So
// launches run one after the other in issue order, across comms and streams of this rank.
#include <condition_variable>
#include <mutex>

#include "lib/base/error.h"
#include "lib/device/device.h"
#include "lib/device/pool.h"
#include "lib/device/stream.h"

namespace tw {
namespace {

class CpuDevice : public Device, public std::enable_shared_from_this<CpuDevice> {
 public:
  explicit CpuDevice(int workers) : pool_(workers - 1) {}

  int blocks() const override { return pool_.threads() + 1; }

  void launch(CpuEntry entry, const void* args, int blocks) override {
    if (blocks == 1) return entry(args, 0, 1);
    pool_.run(entry, args, blocks);
  }

  tw_status_t issue(tw_stream_t stream, Work work) override {
    if (stream == nullptr) {
      if (idle()) return work();
      const Turn turn(*this, take_ticket());
      return work();
    }
    const std::shared_ptr<Stream> queue = stream_of(stream);
    const uint64_t ticket = take_ticket();
    queue->push([self = shared_from_this(), ticket, work = std::move(work)] {
      const Turn turn(*self, ticket);
      return self->run_queued(work);
    });
    return TW_OK;
  }

 private:
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

  uint64_t take_ticket() {
    const std::lock_guard<std::mutex> lock(mutex_);
    queued_.fetch_add(1, std::memory_order_relaxed);
    return tickets_++;
  }

  std::unique_ptr<Error> run_queued(const Work& work) {
    std::unique_ptr<Error> error;
    try {
      const tw_status_t status = work();
      if (status != TW_OK)
        error = std::make_unique<Error>(status,
                                        text("a queued call failed: %s", tw_status_name(status)));
    } catch (const Error& thrown) {
      error = std::make_unique<Error>(thrown);
    } catch (const std::exception& thrown) {
      error = std::make_unique<Error>(TW_ERROR_OUT_OF_MEMORY, thrown.what());
    }
    if (error != nullptr) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (error_ == nullptr) error_ = std::make_unique<Error>(*error);
      failed_.store(true, std::memory_order_release);
    }
    return error;
  }

  void throw_queued() override {
    std::unique_ptr<Error> error;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      error.swap(error_);
      failed_.store(false, std::memory_order_relaxed);
    }
    if (error != nullptr) throw Error(*error);
  }

  Pool pool_;
  std::mutex mutex_;
  std::condition_variable turned_;
  uint64_t tickets_ = 0;  // next to give
  uint64_t turn_ = 0;     // next to run
  std::unique_ptr<Error> error_;
};

}  // namespace

std::shared_ptr<Device> create_cpu_device(int workers) {
  return std::make_shared<CpuDevice>(workers);
}

}  // namespace tw
