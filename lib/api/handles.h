// The handles of the C API and what stands behind them.
#pragma once

#include "lib/api/guard.h"
#include "lib/base/handle.h"
#include "lib/comm/comm.h"
#include "lib/comm/window.h"

namespace tw {

/// A signal set: a window of words, one per (slot, sender) at each rank, each on its own line.
struct SignalSet;

namespace api {

/// Never destroyed: threads may still call while the process exits.
extern HandleTable<tw_comm_t, Comm, 1>& comms;
extern HandleTable<tw_window_t, Window, 2>& windows;
extern HandleTable<tw_signals_t, SignalSet, 3>& signal_sets;

[[noreturn]] void bad_handle(const char* what, const void* handle);

inline Comm& comm_of(tw_comm_t handle) {
  Comm* comm = comms.find(handle);
  if (__builtin_expect(comm == nullptr, 0)) bad_handle("comm", handle);
  return *comm;
}
inline Window& window_of(tw_window_t handle) {
  Window* window = windows.find(handle);
  if (window == nullptr) bad_handle("window", handle);
  return *window;
}
inline SignalSet& signals_of(tw_signals_t handle) {
  SignalSet* signals = signal_sets.find(handle);
  if (signals == nullptr) bad_handle("signals", handle);
  return *signals;
}

/// Marks the comm as in use by this thread for the scope's life.
class InUse {
 public:
  explicit InUse(Comm& comm) : comm_(comm) {
    if (!comm.enter())
      fail(TW_ERROR_INVALID_STATE,
           "comm \"%s\" rank %d is inside a call of another thread: one thread at a time",
           comm.options().name.c_str(), comm.rank());
  }
  InUse(const InUse&) = delete;
  InUse& operator=(const InUse&) = delete;
  ~InUse() { comm_.leave(); }

 private:
  Comm& comm_;
};

}  // namespace api
}  // namespace tw
