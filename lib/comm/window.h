// Windows: memory that every rank of a comm reaches. Signal sets are windows of counters.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "lib/comm/comm.h"
#include "lib/comm/control.h"
#include "lib/device/memory.h"

namespace tw {

class Window {
 public:
  /// Collective. `bytes` may differ between ranks. Zeroed.
  static std::unique_ptr<Window> create(Comm& comm, size_t bytes);

  /// Collective. The memory of a signal set: `bytes` is equal on all ranks.
  static std::unique_ptr<Window> create_signals(Comm& comm, size_t slots);

  /// Collective. The memory of a tile set, and of the comm's own, which nobody destroys but the
  /// comm itself: `bytes` is equal on all ranks.
  static std::unique_ptr<Window> create_tiles(Comm& comm, size_t bytes);
  static std::unique_ptr<Window> create_workspace(Comm& comm, size_t bytes);

  /// Collective. [ptr, ptr + bytes) lies in one tw_mem_alloc allocation.
  static std::unique_ptr<Window> register_memory(Comm& comm, void* ptr, size_t bytes);

  /// Collective over `child`, which came of a split of this window's comm: the same memory by the
  /// child's rank numbers. This window must outlive it.
  std::unique_ptr<Window> share(Comm& child);

  /// From here on it cannot be shared. Throws INVALID_STATE while windows that share it live, or
  /// another thread is destroying it.
  void end_sharing();

  /// Collective while the comm is well; local once it has ended. Call before the destructor. Throws
  /// what ended the comm meanwhile; the window is gone all the same.
  void close();

  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;
  ~Window() = default;

  Comm& comm() const { return comm_; }
  char* data(int rank) const { return data_[static_cast<size_t>(rank)]; }
  size_t bytes(int rank) const { return bytes_[static_cast<size_t>(rank)]; }
  const std::vector<char*>& table() const { return data_; }
  const std::vector<size_t>& sizes() const { return bytes_; }

  /// Addresses and sizes of all parts where the device's kernels read them. Any thread. Throws
  /// OUT_OF_MEMORY.
  struct Tables {
    char* const* parts;
    const size_t* bytes;
  };
  Tables kernel_tables();

  /// Throws INVALID_ARGUMENT unless [offset, offset + bytes) lies in `rank`'s part.
  void check_range(int rank, size_t offset, size_t bytes) const;

 private:
  explicit Window(Comm& comm);
  void allocate(ControlKind kind, size_t bytes);
  void check_same_window() const;
  void place(size_t bytes);
  void enter_books();
  void leave_books();
  void give_back();
  template <class Step>
  void agree_on(ControlKind kind, Step step);
  void add_sharer();
  std::vector<uint64_t> tell_all(uint64_t ranks);
  std::vector<Fd> pass_files(const Fd& mine);

  Comm& comm_;
  std::vector<char*> data_;
  std::vector<size_t> bytes_;
  enum class Source { kHeap, kSignals, kTiles, kWorkspace, kRegistered, kShared };
  Source source_ = Source::kHeap;
  RangeAllocator::Place place_{};  // where it is of the heap
  uint64_t location_ = 0;          // of its start; else its own segment
  struct EndShare {
    void operator()(Window* source) const {
      source->sharers_.fetch_sub(1, std::memory_order_release);
    }
  };
  std::unique_ptr<Window, EndShare> shared_from_;  // kShared: keeps it alive
  std::atomic<int> sharers_{0};                    // windows that share this one; -1: never again
  MemoryUse memory_;                               // registered: own memory stays
  std::mutex tables_mutex_;
  std::unique_ptr<DeviceMemory> tables_;            // on GPUs, once they are asked for
  std::vector<std::shared_ptr<MappedPool>> pools_;  // registered: every rank's pool as mapped here
};

}  // namespace tw
