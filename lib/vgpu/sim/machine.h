// Virtual GPUs: streams, resident blocks, and the loop that runs warps of all of them by turns.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "lib/vgpu/sim/block.h"
#include "lib/vgpu/sim/fault.h"
#include "lib/vgpu/sim/launch.h"
#include "lib/vgpu/sim/memory.h"
#include "lib/vgpu/sim/observer.h"
#include "lib/vgpu/sim/random.h"
#include "lib/vgpu/sim/scheduler.h"

namespace tw::vgpu {

struct MachineOptions {
  int gpus = 1;
  int sms = 132;
  uint64_t seed = 1;
  std::string scheduler = "uniform";
  /// Seconds without a store, barrier or exit anywhere after which waiting warps are a hang.
  double hang_seconds = 20;
  /// Asynchronous operations finish as late as they may instead of at random times.
  bool late_engines = false;
};

/// A mark in a stream. Recorded and waited for by number: a later record does not hold up a wait
/// for an earlier one.
struct Event {
  uint64_t recorded = 0;   // the latest record's number
  uint64_t completed = 0;  // of the latest record that the stream has reached
  uint64_t nanoseconds = 0;
  std::vector<uint64_t> known_launches;  // complete at the latest record that was reached
};

struct Command {
  enum class Kind : uint8_t { kLaunch, kWork, kRecord, kWait };
  Kind kind = Kind::kWork;
  std::unique_ptr<Launch> launch;
  std::function<void()> work;
  std::shared_ptr<Event> event;
  uint64_t number = 0;  // of the record
  uint64_t ticket = 0;  // order of issue, in the whole machine
};

struct Stream {
  int gpu = 0;
  bool is_default = false;  // the legacy stream: ordered against all blocking streams of its GPU
  bool is_blocking = true;
  std::deque<Command> commands;
  std::vector<uint64_t> known_launches;  // that are complete before what comes next
};

/// An asynchronous operation of a block: a bulk copy, a tensor copy.
struct Engine {
  std::function<void()> finish;
  Block* block = nullptr;  // kept until the operation has finished
};

class Machine {
 public:
  /// `observer` may be null: nobody looks for races.
  Machine(const MachineOptions& options, std::unique_ptr<Observer> observer);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  int gpus() const { return options_.gpus; }
  int sms() const { return options_.sms; }
  Random& random() { return random_; }

  // ---- For hosts. Each call needs the lock --------------------------------------------------

  /// Holds the machine still. The worker gives way at the end of its slice.
  class Lock {
   public:
    explicit Lock(Machine& machine);
    /// Gives the machine free, and holds it again.
    void unlock() { lock_.unlock(); }
    void lock();

   private:
    Machine& machine_;
    std::unique_lock<std::mutex> lock_;
  };

  Memory& memory() { return memory_; }
  std::shared_ptr<Stream> make_stream(int gpu, bool is_default, bool is_blocking);
  void forget_stream(const std::shared_ptr<Stream>& stream);
  void enqueue(Stream* stream, Command command);
  bool is_idle(const Stream& stream) const { return stream.commands.empty(); }
  /// Waits until `condition` holds; false when a fault came first.
  bool wait(Lock& lock, const std::function<bool()>& condition);
  /// The host has seen that these launches are complete: what it launches later comes after them.
  void host_learns(const std::vector<uint64_t>& launches);
  /// The same of all that the GPU's streams have done.
  void host_learns_of(int gpu);
  /// The first fault, or null. It stays: all later work is dropped.
  const Fault* fault() const { return fault_.get(); }
  /// Streams of one GPU (all when gpu < 0) that still have commands.
  bool is_busy(int gpu) const;
  /// Thread-instructions executed, and the time of this machine that went into it.
  uint64_t thread_ops() const { return thread_ops_; }
  double busy_seconds() const { return static_cast<double>(busy_) * 1e-9; }

  // ---- For ops ------------------------------------------------------------------------------

  void make_ready(Warp* warp);
  /// Something that another warp may wait for has changed.
  void note_progress() { ++progress_; }
  void start_engine(Block* block, std::function<void()> finish);
  /// Nanoseconds of %globaltimer.
  uint64_t now() const;

 private:
  struct Gpu {
    uint64_t used = 0;  // of sms * kSmUnits
    std::vector<Launch*> launches;
  };

  void work();
  /// Runs warps for a while; false when there was nothing to do.
  bool slice();
  bool advance_streams();
  bool may_start(const Stream& stream, const Command& command) const;
  bool advance(Stream* stream);
  void fill(int gpu);
  void add_blocks(Launch* launch, uint64_t count);
  void run_one();
  void run_engines();
  void finish_block(Block* block);
  void drop_block(Block* block);
  void check_hang();
  void fail(const Fault& fault);
  std::string waiting_warps() const;

  MachineOptions options_;
  Random random_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<Observer> observer_;
  Memory memory_;
  std::vector<Gpu> gpus_;
  std::vector<std::shared_ptr<Stream>> streams_;
  std::unordered_map<Block*, std::unique_ptr<Block>> blocks_;
  std::unordered_map<size_t, std::vector<std::unique_ptr<BlockStorage>>> spare_;
  std::vector<Warp*> ready_;
  std::vector<Engine> engines_;
  std::unique_ptr<Fault> fault_;
  uint64_t tickets_ = 0;
  uint64_t block_ids_ = 0;
  uint64_t launch_ids_ = 0;
  uint64_t host_floor_ = 0;              // launches up to here are complete, and the host knows it
  std::vector<uint64_t> host_launches_;  // and so are these
  uint64_t progress_ = 0;
  uint64_t seen_progress_ = 0;
  uint64_t quiet_turns_ = 0;
  uint64_t quiet_since_ = 0;
  uint64_t thread_ops_ = 0;
  uint64_t busy_ = 0;  // nanoseconds in slices

  std::mutex mutex_;
  std::condition_variable changed_;       // for the worker: there is something to do
  std::atomic<uint64_t> completions_{0};  // commands that ended, and faults: what hosts wait for
  std::atomic<int> waiting_{0};           // hosts that want the lock: the worker gives way to them
  bool is_ending_ = false;
  std::thread worker_;
};

}  // namespace tw::vgpu
