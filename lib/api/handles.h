// The handles of the C API and what stands behind them.
#pragma once

#include "lib/api/guard.h"
#include "lib/base/handle.h"
#include "lib/comm/comm.h"
#include "lib/comm/window.h"

namespace tw {

class Model;

/// A signal set: a window of words, one per (slot, sender) at each rank, each on its own line.
struct SignalSet;
/// A tile set: memory, signal words and counters of the user's tile programs.
struct TileSet;

/// A program of the user's, and the windows that it uses.
struct ProgramHandle;

namespace api {

/// Never destroyed: threads may still call while the process exits.
extern HandleTable<tw_comm_t, Comm, 1>& comms;
extern HandleTable<tw_window_t, Window, 2>& windows;
extern HandleTable<tw_signals_t, SignalSet, 3>& signal_sets;
extern HandleTable<tw_tiles_t, TileSet, 4>& tile_sets;
extern HandleTable<tw_model_t, Model, 5>& models;
extern HandleTable<tw_program_t, ProgramHandle, 6>& programs;

[[noreturn]] void bad_handle(const char* what, const void* handle);

/// What a handle stands for, kept alive. Throws INVALID_HANDLE.
template <class Handle, class T, unsigned kTag>
class Pinned {
 public:
  Pinned(const HandleTable<Handle, T, kTag>& table, Handle handle, const char* what)
      : pin_(table, handle) {
    if (pin_.get() == nullptr) bad_handle(what, handle);
  }
  T& operator*() const { return *pin_.get(); }
  /// Gives it up early, to erase it.
  void release() { pin_.release(); }

 private:
  typename HandleTable<Handle, T, kTag>::Pin pin_;
};
inline auto pin(tw_comm_t handle) { return Pinned(comms, handle, "comm"); }
inline auto pin(tw_window_t handle) { return Pinned(windows, handle, "window"); }
inline auto pin(tw_signals_t handle) { return Pinned(signal_sets, handle, "signals"); }
inline auto pin(tw_tiles_t handle) { return Pinned(tile_sets, handle, "tiles"); }
inline auto pin(tw_model_t handle) { return Pinned(models, handle, "model"); }
inline auto pin(tw_program_t handle) { return Pinned(programs, handle, "program"); }

[[noreturn]] void refuse_second_thread(const Comm& comm);

/// Throws UNSUPPORTED for a comm on GPUs: `function` runs on CPUs only.
void require_cpu(const Comm& comm, const char* function);

/// The comm of a handle, used by this thread alone for the scope's life. Throws INVALID_HANDLE, and
/// INVALID_STATE while another thread uses it.
class CommInUse {
 public:
  explicit CommInUse(tw_comm_t handle) : lock_(comms, handle) {
    if (__builtin_expect(lock_.get() == nullptr, 0)) refuse(handle);
  }
  Comm& operator*() const { return *lock_.get(); }

 private:
  [[noreturn]] void refuse(tw_comm_t handle) const {
    if (lock_.live()) refuse_second_thread(*pin(handle));
    bad_handle("comm", handle);
  }
  const HandleTable<tw_comm_t, Comm, 1>::Lock lock_;
};

/// The same, for a comm that something pinned keeps alive.
class InUse {
 public:
  explicit InUse(Comm& comm) : comm_(comm) {
    if (!comm.enter()) refuse_second_thread(comm);
  }
  InUse(const InUse&) = delete;
  InUse& operator=(const InUse&) = delete;
  ~InUse() { comm_.leave(); }

 private:
  Comm& comm_;
};

}  // namespace api
}  // namespace tw
