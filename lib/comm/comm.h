// A communicator: this rank's view of n ranks that share memory.
//
// Every rank owns one Heap whose first bytes are the comm area (tile/comm_view.h). Control calls
// (windows, split) go through mailboxes in it (control.h); kernels use its flags, slots and
// packets.
//
// Failure. The first error of a comm stays. A rank that finds one writes its sentence into its own
// control block and then the abort word of every rank (release); whoever waits polls its own abort
// word and fetches the sentence from the rank that the word names. A peer's death is seen by every
// process's own monitor.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/range_allocator.h"
#include "lib/boot/exchange.h"
#include "lib/comm/call_numbers.h"
#include "lib/comm/call_text.h"
#include "lib/comm/kernel_side.h"
#include "lib/device/device.h"
#include "lib/device/heap.h"
#include "lib/net/mesh.h"
#include "lib/net/monitor.h"
#include "tilewire.h"
#include "tilewire/tile/comm_view.h"

namespace tw {

class Collectives;
class Control;
class Window;

/// tw_comm_config_t merged with the environment; every value is set.
struct CommOptions {
  std::string name;
  int64_t timeout_ms;
  int64_t setup_timeout_ms;
  int workers;     // 0 = this rank's share of the affinity mask
  int max_blocks;  // 0 = all workers
  size_t max_memory;
  bool on_gpu = false;  // else a CPU device
  int gpu = 0;  // ordinal; of rank 0 when `gpu_by_rank`: then ranks take one after the other
  bool gpu_by_rank = false;
  std::string agreement;  // "key=value" lines that must be equal on all ranks

  /// Throws INVALID_ARGUMENT for what no comm can have. `name`: where the config has none.
  /// `function` is who asks, for errors.
  static CommOptions merge(const tw_comm_config_t& config, const char* function,
                           const std::string& name);
};

/// Owned by a Comm on behalf of the layer above, which comm does not know.
struct CollectivesDeleter {
  void (*destroy)(Collectives*) = nullptr;
  void operator()(Collectives* c) const { destroy(c); }
};
using CollectivesPtr = std::unique_ptr<Collectives, CollectivesDeleter>;

/// What the running launch of a program says in messages.
struct LaunchWords {
  /// Of a peer that launches the same program in another way, or ""; may be null.
  std::function<std::string(int peer)> mismatch;
  /// What waits for signal `index` of `peer`, or "".
  std::function<std::string(int peer, uint64_t index)> waiting;
};

class Comm {
 public:
  /// Collective over the exchange. Throws what tw_comm_create documents, on all ranks alike.
  /// `device` null: makes one of options.workers, or takes the GPU that options name.
  static std::unique_ptr<Comm> create(boot::Exchange& exchange, const CommOptions& options,
                                      std::shared_ptr<Device> device);
  ~Comm();
  Comm(const Comm&) = delete;
  Comm& operator=(const Comm&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  const CommOptions& options() const { return options_; }
  uint64_t unique_number() const { return unique_number_; }
  const CommView& view() const { return view_; }
  Device& device() const { return *device_; }
  const std::shared_ptr<Device>& shared_device() const { return device_; }
  int max_blocks() const { return max_blocks_.load(std::memory_order_relaxed); }
  void set_max_blocks(int blocks) { max_blocks_.store(blocks, std::memory_order_relaxed); }
  /// Bytes of the comm area; and all that this rank holds, with the workspace of fused calls.
  size_t area_bytes() const { return view_.layout.end; }
  size_t memory() const { return area_bytes() + workspace_bytes_.load(std::memory_order_relaxed); }
  void set_workspace_memory(size_t bytes) {
    workspace_bytes_.store(bytes, std::memory_order_relaxed);
  }
  /// On some cores. The same on all ranks.
  bool more_ranks_than_cores() const { return more_ranks_than_cores_; }
  bool one_process() const { return one_process_; }

  /// Location of [ptr, ptr + bytes) when it lies in a window, else 0.
  uint64_t locate(const void* ptr, size_t bytes) const;

  // ---- Failure ----

  /// TW_OK, or why the comm ended. Any thread.
  tw_status_t status() const { return status_.load(std::memory_order_acquire); }
  /// "" while the comm is well. Any thread; stays valid.
  const char* sentence() const;
  /// True once the comm has ended, on this rank or by another's word.
  bool ended() const {
    return status() != TW_OK || __atomic_load_n(wait_.abort, __ATOMIC_ACQUIRE) != 0;
  }
  /// Throws the comm's error when it has ended.
  void check() const {
    if (__builtin_expect(ended(), 0)) throw_error();
  }
  /// The same, unless collective `number` (from 1) is over: what is complete is no error, and the
  /// next call tells.
  void check_call(uint64_t number) const {
    if (__builtin_expect(ended(), 0) && __atomic_load_n(completed_, __ATOMIC_RELAXED) < number)
      throw_error();
  }
  /// Ends the comm on all ranks. The first caller's sentence stays. Any thread.
  void end(tw_status_t status, const std::string& sentence);

  // ---- One thread at a time ----

  /// `flag`: true while a thread is inside a call; it outlives the comm.
  void set_busy_flag(std::atomic<bool>* flag) { busy_ = flag; }
  /// False when another thread is inside a call.
  bool enter() { return !busy_->exchange(true, std::memory_order_acquire); }
  void leave() { busy_->store(false, std::memory_order_release); }

  // ---- For windows, split and shrink (this layer) ----

  Control& control() const { return *control_; }
  Heap& heap(int rank) const { return *heaps_[static_cast<size_t>(rank)]; }
  /// In host memory, whatever the device: what hosts say to each other.
  RankControl& control_block(int rank) const;
  /// The one that kernels write: the same on CPUs; on GPUs an address of the device.
  const RankControl& kernel_control(int rank) const {
    return *reinterpret_cast<const RankControl*>(heap_starts_[static_cast<size_t>(rank)]);
  }
  /// How host code waits.
  WaitContext* host_waiting() const { return &wait_; }
  /// Calls that this rank has completed.
  uint64_t epoch() const { return kernels_->epoch(); }
  const net::Mesh& mesh() const { return *mesh_; }
  bool same_process(int rank) const { return same_process_[static_cast<size_t>(rank)]; }
  RangeAllocator& allocator() { return allocator_; }
  /// Ranks known to be dead, from all processes of the comm; and those that destroyed it.
  uint64_t dead() const;
  uint64_t gone() const;
  /// Adds a row to the segment table, address by rank; returns the location of its start.
  uint64_t add_segment(const std::vector<char*>& at);
  void remove_segment(uint64_t location);
  /// Makes own memory known to `locate`.
  void add_range(const void* begin, size_t bytes, uint64_t location);
  void remove_range(uint64_t location);
  /// Location of the start of heap segment `index`; grows the heaps to have it (collective).
  uint64_t heap_segment(int index) const { return heap_segments_[static_cast<size_t>(index)]; }
  void add_heap_segment(size_t bytes);

  /// Live windows and signal sets: what each is, for the refusal of destroy.
  void add_live(const void* what, const std::string& name) { live_[what] = name; }
  void remove_live(const void* what) { live_.erase(what); }
  std::string live_names() const;  // "" when none
  std::atomic<int> children{0};    // live children by split
  int shrink_attempts = 0;
  /// Of a split: `members[r]` is the parent's rank of this comm's rank r.
  void set_parent(Comm* parent, std::vector<int> members);
  const Comm* parent() const { return parent_; }
  const std::vector<int>& parent_ranks() const { return parent_ranks_; }

  /// While it lives, a program is launched, which says in messages what only it knows; to blocks of
  /// this launch.
  class Launching {
   public:
    Launching(Comm& comm, const LaunchWords* words) : comm_(comm) { comm.launch_words_ = words; }
    Launching(const Launching&) = delete;
    Launching& operator=(const Launching&) = delete;
    ~Launching() { comm_.launch_words_ = nullptr; }

   private:
    Comm& comm_;
  };
  const LaunchWords* launch_words() const { return launch_words_; }

  // ---- For the layer above ----

  CallNumbers& calls() { return calls_; }
  void attach(CollectivesPtr collectives) { collectives_ = std::move(collectives); }
  Collectives& collectives() const { return *collectives_; }

 private:
  Comm(const boot::Exchange& exchange, CommOptions options);

  struct Card;   // what a rank tells the others
  struct Terms;  // and how its set-up ended
  struct Range {
    const char* begin;
    const char* end;
    uint64_t location;
  };

  void open_heaps();
  /// Of the device; control blocks have heaps of their own where hosts do not reach those.
  Heaps& heap_kind() const { return has_own_controls() ? *device_->heaps() : host_heaps(); }
  bool has_own_controls() const { return device_ != nullptr && device_->heaps() != nullptr; }
  void connect(boot::Exchange& exchange);
  void check_hosts(const std::vector<Card>& cards) const;
  void check_agreement(const std::vector<Card>& cards) const;
  void check_devices(const std::vector<Card>& cards) const;
  void pass_segment(std::vector<std::shared_ptr<Heap>>& heaps, int index, const Deadline& deadline);
  void exchange_heaps(const std::vector<Card>& cards);
  void set_up_waiting(const std::vector<Card>& cards);
  void adopt_terms(const std::vector<std::string>& said);
  void fill_view();
  void watch_peers();
  void on_hang_up(int peer);
  [[noreturn]] void throw_error() const;
  void adopt_error() const;
  void keep_error(tw_status_t status, const std::string& sentence) const;
  bool keep_told_error() const;  // false when nobody has told one

  const int rank_;
  const int size_;
  const CommOptions options_;
  uint64_t unique_number_ = 0;
  bool one_process_ = true;
  bool more_ranks_than_cores_ = false;
  std::shared_ptr<Device> device_;
  std::atomic<int> max_blocks_{0};
  std::atomic<size_t> workspace_bytes_{0};
  std::optional<net::Mesh>
      mesh_;  // made in connect, where lacking descriptors is told to all ranks
  CommLayout layout_ = {};
  std::vector<std::shared_ptr<Heap>> heaps_;     // in the device's memory
  std::vector<std::shared_ptr<Heap>> controls_;  // the control blocks'; on CPUs those of heaps_
  std::vector<char> same_process_;
  std::vector<char*> heap_starts_, control_starts_;
  std::vector<int> free_segments_;
  std::vector<uint64_t> heap_segments_;
  int segments_ = 0;
  std::map<const void*, std::string> live_;
  std::vector<Range> ranges_;  // own window memory, by begin
  RangeAllocator allocator_;
  std::unique_ptr<Control> control_;
  mutable WaitContext wait_ = {};  // waits of const functions are no change
  std::unique_ptr<KernelSide> kernels_;
  const uint64_t* completed_ = nullptr;
  CommView view_ = {};
  Comm* parent_ = nullptr;
  std::vector<int> parent_ranks_;
  CollectivesPtr collectives_;
  CallNumbers calls_;
  const LaunchWords* launch_words_ = nullptr;
  std::atomic<bool>* busy_ = nullptr;
  alignas(64) mutable std::atomic<tw_status_t> status_{TW_OK};
  mutable std::mutex error_mutex_;
  mutable std::string sentence_;
  std::unique_ptr<KernelWatch> kernel_watch_;                  // of a GPU's kernels
  std::vector<std::unique_ptr<net::Monitor::Watch>> watches_;  // last: ended first
};

/// The slow path of every wait (WaitContext::slow): yields, then sleeps, polling abort word, peers
/// and deadline. Also for host code: see wait.cc.
bool wait_slow(WaitContext* context, const WaitSite* site, const uint64_t* word, uint64_t want);
bool wait_idle(WaitContext* context, const WaitSite* site, uint64_t round);
void wait_mismatch(WaitContext* context, const WaitSite* site, uint64_t got, uint64_t want);

/// Ends the comm by what a block on this rank's GPU wrote when it gave up.
void end_by_failure(Comm& comm, const WaitFailure& failure);

}  // namespace tw
