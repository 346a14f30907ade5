// The driver's state: everything that handles refer to. All of it is guarded by the machine's lock.
#pragma once

#include <cuda.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/base/fd.h"
#include "lib/vgpu/driver/settings.h"
#include "lib/vgpu/sim/machine.h"

namespace tw::vgpu {

/// Objects by the handles that callers hold: a handle that is none of them is seen.
template <class T>
class Registry {
 public:
  T* add(std::unique_ptr<T> object) {
    T* handle = object.get();
    objects_.emplace(handle, std::move(object));
    return handle;
  }
  T* find(const void* handle) const {
    const auto at = objects_.find(handle);
    return at == objects_.end() ? nullptr : at->second.get();
  }
  void remove(const T* handle) { objects_.erase(handle); }
  template <class F>
  void remove_if(F f) {
    std::erase_if(objects_, [&](const auto& entry) { return f(*entry.second); });
  }

 private:
  std::unordered_map<const void*, std::unique_ptr<T>> objects_;
};

struct DriverContext {
  int gpu = 0;
  bool is_primary = false;
  int retained = 0;
  unsigned flags = 0;
  std::shared_ptr<Stream> default_stream;
};

/// Makes a command anew each time: graphs run theirs many times.
using Recipe = std::function<Command()>;

struct DriverGraph {
  std::vector<Recipe> recipes;
  int gpu = 0;
};

struct DriverStream {
  DriverContext* context = nullptr;
  std::shared_ptr<Stream> stream;
  unsigned flags = 0;
  int priority = 0;
  bool is_capturing = false;
  std::vector<Recipe> captured;
};

struct DriverEvent {
  DriverContext* context = nullptr;
  std::shared_ptr<Event> event;
  unsigned flags = 0;
};

struct DriverModule;

struct DriverFunction {
  DriverModule* module = nullptr;
  std::unique_ptr<Program> program;
  LoadedProgram loaded;
  int max_dynamic_shared = 48 * 1024;
};

struct DriverModule {
  DriverContext* context = nullptr;
  std::shared_ptr<const ptx::Module> text;
  struct Variable {
    uint64_t address;
    size_t bytes;
  };
  std::map<std::string, Variable, std::less<>> variables;
  std::map<std::string, std::unique_ptr<DriverFunction>, std::less<>> functions;
  uint64_t storage = 0;  // of the variables
  size_t storage_bytes = 0;
};

/// Memory that has no address by itself (cuMemCreate), or a multicast object.
struct Physical {
  Fd fd;
  size_t bytes = 0;
  int gpu = 0;
  unsigned handle_types = 0;
  int references = 1;  // the handle and the mappings
  // Of a multicast object:
  bool is_multicast = false;
  unsigned device_count = 0;
  std::vector<int> devices;
  struct Binding {
    int gpu;
    size_t at;  // in the object
    Physical* memory;
    size_t offset;  // in the memory
    size_t bytes;
    uint8_t* view;  // the simulator's own mapping of it
  };
  std::vector<Binding> bindings;
};

struct Mapping {
  size_t bytes = 0;
  Physical* physical = nullptr;
  size_t offset = 0;
};

/// What cuMemAlloc and its like gave.
struct Allocation {
  enum class Kind : uint8_t { kDevice, kHost, kRegistered, kManaged, kOpened };
  Kind kind = Kind::kDevice;
  size_t bytes = 0;  // as asked
  size_t mapped_bytes = 0;
  int gpu = 0;
  unsigned flags = 0;
  Fd fd;
};

struct Driver {
  explicit Driver(const Settings& from);

  Settings settings;
  Machine machine;
  std::vector<std::unique_ptr<DriverContext>> primaries;  // by GPU
  Registry<DriverContext> contexts;                       // of cuCtxCreate
  Registry<DriverStream> streams;
  Registry<DriverEvent> events;
  Registry<DriverModule> modules;
  Registry<DriverGraph> graphs;
  Registry<DriverGraph> graph_instances;
  Registry<Physical> physicals;
  std::unordered_map<const void*, DriverFunction*> functions;
  std::map<uint64_t, size_t> reservations;
  std::map<uint64_t, Mapping> mappings;
  std::map<uint64_t, Allocation> allocations;
  std::vector<size_t> allocated;      // bytes by GPU
  std::vector<unsigned> peer_access;  // by GPU: bits of the GPUs that may access its allocations
  uint64_t allocation_count = 0;
  bool is_fault_reported = false;

  /// The stream's context's machine stream; null when the handle is none. Null handles and the two
  /// fixed ones mean the calling thread's default stream.
  DriverStream* stream(CUstream handle);
  /// Queues what `recipe` makes, or adds it to the graph that the stream is recorded into.
  CUresult submit(DriverStream* stream, Recipe recipe);
  /// Waits until the stream is idle, and gives the error of a fault.
  CUresult wait_idle(Machine::Lock& lock, Stream* stream);
  /// The error of the fault that has happened, reporting it once; success when none has.
  CUresult fault_error();
  bool is_device(CUdevice device) const { return device >= 0 && device < settings.gpus; }
  void drop(Physical* physical);

 private:
  std::vector<std::unique_ptr<DriverStream>> default_streams_;  // by context, on demand
  std::unordered_map<DriverContext*, DriverStream*> default_of_;
};

/// The driver after cuInit, or null.
Driver* driver();
/// Makes it. The first call wins.
CUresult start_driver();

/// The calling thread's current context, or null.
DriverContext* current_context();
std::vector<DriverContext*>& context_stack();

/// Runs `call(driver, lock)` with the lock: the frame of every entry point. Errors: not
/// initialized, a sticky fault, and whatever is thrown.
CUresult enter(const std::function<CUresult(Driver&, Machine::Lock&)>& call,
               bool in_spite_of_fault = false);
/// As enter, and the thread must have a current context, which the call gets.
CUresult enter_context(
    const std::function<CUresult(Driver&, Machine::Lock&, DriverContext&)>& call);

}  // namespace tw::vgpu
