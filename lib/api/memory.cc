// Memory, windows: tilewire.h, "Memory and windows".
#include "lib/device/memory.h"

#include "lib/api/group.h"
#include "lib/api/guard.h"
#include "lib/api/handles.h"
#include "lib/api/issue.h"
#include "tilewire/window_device.h"

using namespace tw;       // NOLINT(google-build-using-namespace): entry points of this layer
using namespace tw::api;  // NOLINT(google-build-using-namespace): entry points of this layer

namespace {

void check_device(const tw_device_t* device, const char* function) {
  const tw_device_t defaults = TW_DEVICE_INIT;
  const tw_device_t d = versioned(device, defaults, "tw_device_t");
  require_range(d.kind, TW_DEVICE_AUTO, TW_DEVICE_GPU, function, "device.kind");
  if (d.kind == TW_DEVICE_GPU)
    fail(TW_ERROR_UNSUPPORTED,
         "%s: device.kind = TW_DEVICE_GPU; valid: CPU (memory of GPUs is CUDA's, or a window's)",
         function);
}

}  // namespace

tw_status_t tw_mem_alloc(size_t bytes, const tw_device_t* device, void** ptr) {
  return guard([&] {
    require(ptr, "tw_mem_alloc", "ptr");
    check_device(device, "tw_mem_alloc");
    *ptr = mem_alloc(bytes);
  });
}

tw_status_t tw_mem_free(void* ptr) {
  return guard([&] {
    if (ptr != nullptr) mem_free(ptr);
  });
}

tw_status_t tw_window_create(tw_comm_t comm, size_t bytes, tw_window_t* window) {
  return guard([&] {
    const CommInUse use(comm);
    Comm& c = *use;
    require(window, "tw_window_create", "window");
    auto place = windows.place();
    *window = place.fill(Window::create(c, bytes));
  });
}

tw_status_t tw_window_register(tw_comm_t comm, void* ptr, size_t bytes, tw_window_t* window) {
  return guard([&] {
    const CommInUse use(comm);
    Comm& c = *use;
    require(window, "tw_window_register", "window");
    auto place = windows.place();
    *window = place.fill(Window::register_memory(c, ptr, bytes));
  });
}

tw_status_t tw_window_share(tw_window_t window, tw_comm_t child, tw_window_t* shared) {
  return guard([&] {
    const auto pinned = pin(window);
    Window& w = *pinned;
    const CommInUse use(child);
    Comm& c = *use;
    require(shared, "tw_window_share", "shared");
    auto place = windows.place();
    *shared = place.fill(w.share(c));
  });
}

tw_status_t tw_window_destroy(tw_window_t window) {
  return guard([&] {
    auto pinned = pin(window);
    Window& w = *pinned;
    if (group::holds(w.comm()))
      fail(TW_ERROR_INVALID_STATE,
           "tw_window_destroy: calls of this thread's open group may use the window; valid: after "
           "tw_group_end");
    const InUse use(w.comm());
    w.end_sharing();
    w.comm().device().drain();  // queued calls use the window
    pinned.release();           // nobody else destroys it while `use` lives
    windows.erase(window);
    const std::unique_ptr<Window> gone(&w);
    w.close();
  });
}

tw_status_t tw_window_ptr(tw_window_t window, int rank, void** ptr) {
  return guard([&] {
    const auto pinned = pin(window);
    const Window& w = *pinned;
    require(ptr, "tw_window_ptr", "ptr");
    require_range(rank, 0, w.comm().size() - 1, "tw_window_ptr", "rank");
    *ptr = w.data(rank);
  });
}

tw_status_t tw_window_size(tw_window_t window, int rank, size_t* bytes) {
  return guard([&] {
    const auto pinned = pin(window);
    const Window& w = *pinned;
    require(bytes, "tw_window_size", "bytes");
    require_range(rank, 0, w.comm().size() - 1, "tw_window_size", "rank");
    *bytes = w.bytes(rank);
  });
}

tw_status_t tw_put(tw_window_t window, int rank, size_t offset, const void* src, size_t bytes,
                   tw_stream_t stream) {
  return guard([&] {
    const auto pinned = pin(window);
    const Window& w = *pinned;
    w.check_range(rank, offset, bytes);
    if (bytes != 0 && src == nullptr)
      fail(TW_ERROR_INVALID_ARGUMENT, "tw_put: src is NULL; valid: %zu bytes of memory", bytes);
    char* const to = w.data(rank) + offset;
    return issue(w.comm(), stream, [&device = w.comm().device(), to, src, bytes] {
      if (bytes != 0) device.copy(to, src, bytes);
      return TW_OK;
    });
  });
}

tw_status_t tw_get(void* dst, tw_window_t window, int rank, size_t offset, size_t bytes,
                   tw_stream_t stream) {
  return guard([&] {
    const auto pinned = pin(window);
    const Window& w = *pinned;
    w.check_range(rank, offset, bytes);
    if (bytes != 0 && dst == nullptr)
      fail(TW_ERROR_INVALID_ARGUMENT, "tw_get: dst is NULL; valid: %zu bytes of memory", bytes);
    const char* const from = w.data(rank) + offset;
    return issue(w.comm(), stream, [&device = w.comm().device(), dst, from, bytes] {
      if (bytes != 0) device.copy(dst, from, bytes);
      return TW_OK;
    });
  });
}

tw_status_t tw_window_get_view(tw_window_t window, tw_window_view* view) {
  return guard([&] {
    const auto pinned = pin(window);
    Window& w = *pinned;
    require(view, "tw_window_get_view", "view");
    const CommView& comm = w.comm().view();
    const Window::Tables tables = w.kernel_tables();
    *view = {kCommLayoutVersion, comm.rank, comm.size, tables.parts,
             tables.bytes,       comm.wait, nullptr};
  });
}
