#include "lib/api/handles.h"

namespace tw::api {

HandleTable<tw_comm_t, Comm, 1>& comms = *new HandleTable<tw_comm_t, Comm, 1>;
HandleTable<tw_window_t, Window, 2>& windows = *new HandleTable<tw_window_t, Window, 2>;
HandleTable<tw_signals_t, SignalSet, 3>& signal_sets = *new HandleTable<tw_signals_t, SignalSet, 3>;
HandleTable<tw_tiles_t, TileSet, 4>& tile_sets = *new HandleTable<tw_tiles_t, TileSet, 4>;
HandleTable<tw_model_t, Model, 5>& models = *new HandleTable<tw_model_t, Model, 5>;
HandleTable<tw_program_t, ProgramHandle, 6>& programs =
    *new HandleTable<tw_program_t, ProgramHandle, 6>;

void refuse_second_thread(const Comm& comm) {
  fail(TW_ERROR_INVALID_STATE,
       "comm \"%s\" rank %d is inside a call of another thread: one thread at a time",
       comm.options().name.c_str(), comm.rank());
}

void require_cpu(const Comm& comm, const char* function) {
  if (comm.device().is_host()) return;
  fail(TW_ERROR_UNSUPPORTED,
       "%s: comm \"%s\" is on GPU %d, and this call runs on CPUs only; valid: a comm whose device "
       "kind is cpu",
       function, comm.options().name.c_str(), comm.device().ordinal());
}

void bad_handle(const char* what, const void* handle) {
  fail(TW_ERROR_INVALID_HANDLE, "%s = %p is %s; valid: one that was created and not destroyed",
       what, handle, handle == nullptr ? "NULL" : "destroyed or not of this library");
}

}  // namespace tw::api
