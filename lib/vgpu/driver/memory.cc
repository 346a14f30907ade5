// Memory with an address from the start: device, pinned, registered, managed, opened from another
// process. All of it is host memory (a memfd, so that another process may open it).
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "lib/vgpu/driver/driver.h"

using namespace tw::
    vgpu;  // NOLINT(google-build-using-namespace): entry points are global C functions

namespace {

constexpr size_t kPage = 4096;
constexpr uint64_t kHandleMark = 0x5457564750554950;  // of our IPC handles

/// What a CUipcMemHandle holds: the owner's descriptor, opened through /proc.
struct IpcHandle {
  uint64_t mark;
  uint64_t bytes;
  uint64_t offset;
  int32_t process;
  int32_t descriptor;
  int32_t gpu;
};
static_assert(sizeof(IpcHandle) <= sizeof(CUipcMemHandle));

size_t whole_pages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

const char* name_of(Allocation::Kind kind) {
  switch (kind) {
    case Allocation::Kind::kDevice:
      return "device";
    case Allocation::Kind::kHost:
      return "pinned host";
    case Allocation::Kind::kRegistered:
      return "registered host";
    case Allocation::Kind::kManaged:
      return "managed";
    case Allocation::Kind::kOpened:
      return "opened IPC";
  }
  return "";
}

void add_region(Driver& state, uint64_t address, const Allocation& allocation) {
  Region region;
  region.begin = address;
  region.end = address + allocation.bytes;
  const bool is_device =
      allocation.kind == Allocation::Kind::kDevice || allocation.kind == Allocation::Kind::kOpened;
  region.home = is_device ? allocation.gpu : -1;
  for (int gpu = 0; gpu < state.settings.gpus; ++gpu) {
    const bool is_peer = state.peer_access[static_cast<size_t>(allocation.gpu)] >> gpu & 1;
    if (!is_device || gpu == allocation.gpu || is_peer) region.access[gpu] = Access::kReadWrite;
  }
  region.origin = std::string(name_of(allocation.kind)) + " allocation " +
                  std::to_string(++state.allocation_count) + " of " +
                  std::to_string(allocation.bytes) + " bytes" +
                  (is_device ? " on GPU " + std::to_string(allocation.gpu) : std::string());
  state.machine.memory().add(std::move(region));
}

/// New memory of `bytes` bytes; 0 when there is none.
uint64_t make_memory(Driver& state, Allocation::Kind kind, int gpu, size_t bytes, unsigned flags) {
  Allocation allocation;
  allocation.kind = kind;
  allocation.bytes = bytes;
  allocation.mapped_bytes = whole_pages(bytes);
  allocation.gpu = gpu;
  allocation.flags = flags;
  allocation.fd.reset(::memfd_create("vgpu", MFD_CLOEXEC));
  if (!allocation.fd ||
      ::ftruncate(allocation.fd.get(), static_cast<off_t>(allocation.mapped_bytes)) != 0)
    return 0;
  void* memory = ::mmap(nullptr, allocation.mapped_bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_NORESERVE, allocation.fd.get(), 0);
  if (memory == MAP_FAILED) return 0;
  const auto address = reinterpret_cast<uint64_t>(memory);
  add_region(state, address, allocation);
  if (kind == Allocation::Kind::kDevice) state.allocated[static_cast<size_t>(gpu)] += bytes;
  state.allocations.emplace(address, std::move(allocation));
  return address;
}

/// Ends an allocation of one of two kinds that begins at `address`, after all work is done.
CUresult end_memory(Driver& state, Machine::Lock& lock, uint64_t address, Allocation::Kind kind,
                    Allocation::Kind other) {
  const auto at = state.allocations.find(address);
  if (at == state.allocations.end() || (at->second.kind != kind && at->second.kind != other))
    return CUDA_ERROR_INVALID_VALUE;
  state.machine.wait(lock, [&] { return !state.machine.is_busy(-1); });
  state.machine.memory().remove(address);
  if (at->second.kind == Allocation::Kind::kDevice)
    state.allocated[static_cast<size_t>(at->second.gpu)] -= at->second.bytes;
  if (at->second.kind != Allocation::Kind::kRegistered)
    ::munmap(reinterpret_cast<void*>(address), at->second.mapped_bytes);
  state.allocations.erase(at);
  return CUDA_SUCCESS;
}

/// The allocation that holds `address`.
std::map<uint64_t, Allocation>::iterator holder(Driver& state, uint64_t address) {
  auto at = state.allocations.upper_bound(address);
  if (at == state.allocations.begin()) return state.allocations.end();
  --at;
  return address < at->first + at->second.bytes ? at : state.allocations.end();
}

CUresult allocate(CUdeviceptr* address, size_t bytes, Allocation::Kind kind, unsigned flags) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext& context) {
    if (address == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    *address = make_memory(state, kind, context.gpu, bytes, flags);
    return *address != 0 ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
  });
}

}  // namespace

extern "C" {

CUresult CUDAAPI cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
  return allocate(address, bytes, Allocation::Kind::kDevice, 0);
}

CUresult CUDAAPI cuMemAllocManaged(CUdeviceptr* address, size_t bytes, unsigned flags) {
  if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST) return CUDA_ERROR_INVALID_VALUE;
  return allocate(address, bytes, Allocation::Kind::kManaged, flags);
}

CUresult CUDAAPI cuMemFree_v2(CUdeviceptr address) {
  return enter_context([&](Driver& state, Machine::Lock& lock, DriverContext&) {
    if (address == 0) return CUDA_SUCCESS;
    return end_memory(state, lock, address, Allocation::Kind::kDevice, Allocation::Kind::kManaged);
  });
}

/// In stream order: what was queued before may still use the memory.
CUresult CUDAAPI cuMemAllocAsync(CUdeviceptr* address, size_t bytes, CUstream stream) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    DriverStream* of = state.stream(stream);
    if (of == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (address == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    if (of->is_capturing) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    *address = make_memory(state, Allocation::Kind::kDevice, of->context->gpu, bytes, 0);
    return *address != 0 ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
  });
}

CUresult CUDAAPI cuMemFreeAsync(CUdeviceptr address, CUstream stream) {
  return enter_context([&](Driver& state, Machine::Lock& lock, DriverContext&) {
    DriverStream* of = state.stream(stream);
    if (of == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (of->is_capturing) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    return end_memory(state, lock, address, Allocation::Kind::kDevice, Allocation::Kind::kDevice);
  });
}

CUresult CUDAAPI cuMemHostAlloc(void** pointer, size_t bytes, unsigned flags) {
  const unsigned valid =
      CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
  if (pointer == nullptr || (flags & ~valid) != 0) return CUDA_ERROR_INVALID_VALUE;
  CUdeviceptr address = 0;
  const CUresult result = allocate(&address, bytes, Allocation::Kind::kHost, flags);
  if (result == CUDA_SUCCESS) *pointer = reinterpret_cast<void*>(address);
  return result;
}

CUresult CUDAAPI cuMemAllocHost_v2(void** pointer, size_t bytes) {
  return cuMemHostAlloc(pointer, bytes, 0);
}

CUresult CUDAAPI cuMemFreeHost(void* pointer) {
  return enter_context([&](Driver& state, Machine::Lock& lock, DriverContext&) {
    return end_memory(state, lock, reinterpret_cast<uint64_t>(pointer), Allocation::Kind::kHost,
                      Allocation::Kind::kHost);
  });
}

CUresult CUDAAPI cuMemHostRegister_v2(void* pointer, size_t bytes, unsigned flags) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext& context) {
    const unsigned valid =
        CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_READ_ONLY;
    if (pointer == nullptr || bytes == 0 || (flags & ~valid) != 0) return CUDA_ERROR_INVALID_VALUE;
    const auto address = reinterpret_cast<uint64_t>(pointer);
    const Memory& memory = state.machine.memory();
    if (memory.find(address) != nullptr || memory.find(address + bytes - 1) != nullptr)
      return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    Allocation allocation;
    allocation.kind = Allocation::Kind::kRegistered;
    allocation.bytes = bytes;
    allocation.gpu = context.gpu;
    allocation.flags = flags;
    add_region(state, address, allocation);
    state.allocations.emplace(address, std::move(allocation));
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemHostUnregister(void* pointer) {
  return enter_context([&](Driver& state, Machine::Lock& lock, DriverContext&) {
    if (pointer == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const CUresult result =
        end_memory(state, lock, reinterpret_cast<uint64_t>(pointer), Allocation::Kind::kRegistered,
                   Allocation::Kind::kRegistered);
    return result == CUDA_SUCCESS ? result : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
  });
}

CUresult CUDAAPI cuMemHostGetDevicePointer_v2(CUdeviceptr* address, void* pointer, unsigned flags) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    if (address == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
    const auto at = holder(state, reinterpret_cast<uint64_t>(pointer));
    if (at == state.allocations.end() || at->second.kind == Allocation::Kind::kDevice)
      return CUDA_ERROR_INVALID_VALUE;
    *address = reinterpret_cast<uint64_t>(pointer);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr address) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    const Region* region = state.machine.memory().find(address);
    if (region == nullptr) return CUDA_ERROR_NOT_FOUND;
    if (base != nullptr) *base = region->begin;
    if (bytes != nullptr) *bytes = region->end - region->begin;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuPointerGetAttribute(void* data, CUpointer_attribute attribute,
                                       CUdeviceptr address) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    if (data == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const Region* region = state.machine.memory().find(address);
    if (region == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const auto at = holder(state, address);
    const bool is_managed =
        at != state.allocations.end() && at->second.kind == Allocation::Kind::kManaged;
    const bool is_host = region->home < 0 && !is_managed;
    switch (attribute) {
      case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *static_cast<unsigned*>(data) = is_host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
        return CUDA_SUCCESS;
      case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
        *static_cast<CUdeviceptr*>(data) = address;
        return CUDA_SUCCESS;
      case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        if (region->home >= 0) return CUDA_ERROR_INVALID_VALUE;
        *static_cast<void**>(data) = reinterpret_cast<void*>(address);
        return CUDA_SUCCESS;
      case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        *static_cast<unsigned*>(data) = is_managed ? 1 : 0;
        return CUDA_SUCCESS;
      case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *static_cast<int*>(data) = region->home >= 0               ? region->home
                                   : at != state.allocations.end() ? at->second.gpu
                                                                   : 0;
        return CUDA_SUCCESS;
      case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
        *static_cast<CUdeviceptr*>(data) = region->begin;
        return CUDA_SUCCESS;
      case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
        *static_cast<size_t*>(data) = region->end - region->begin;
        return CUDA_SUCCESS;
      default:
        return CUDA_ERROR_INVALID_VALUE;
    }
  });
}

// ---- Between processes ----------------------------------------------------------------------

CUresult CUDAAPI cuIpcGetMemHandle(CUipcMemHandle* handle, CUdeviceptr address) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    const auto at = holder(state, address);
    if (handle == nullptr || at == state.allocations.end() ||
        at->second.kind != Allocation::Kind::kDevice)
      return CUDA_ERROR_INVALID_VALUE;
    const IpcHandle own{kHandleMark, at->second.bytes,    0,
                        ::getpid(),  at->second.fd.get(), at->second.gpu};
    std::memset(handle, 0, sizeof *handle);
    std::memcpy(handle, &own, sizeof own);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuIpcOpenMemHandle_v2(CUdeviceptr* address, CUipcMemHandle handle,
                                       unsigned flags) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext& context) {
    IpcHandle own;
    std::memcpy(&own, &handle, sizeof own);
    if (address == nullptr || flags != CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS ||
        own.mark != kHandleMark)
      return CUDA_ERROR_INVALID_VALUE;
    // A process does not open its own memory.
    if (own.process == ::getpid()) return CUDA_ERROR_INVALID_CONTEXT;
    const std::string path =
        "/proc/" + std::to_string(own.process) + "/fd/" + std::to_string(own.descriptor);
    Allocation allocation;
    allocation.kind = Allocation::Kind::kOpened;
    allocation.bytes = own.bytes;
    allocation.mapped_bytes = whole_pages(own.bytes);
    allocation.gpu = context.gpu;
    allocation.fd.reset(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!allocation.fd) return CUDA_ERROR_MAP_FAILED;
    void* memory = ::mmap(nullptr, allocation.mapped_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                          allocation.fd.get(), 0);
    if (memory == MAP_FAILED) return CUDA_ERROR_MAP_FAILED;
    *address = reinterpret_cast<uint64_t>(memory);
    add_region(state, *address, allocation);
    state.allocations.emplace(*address, std::move(allocation));
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuIpcCloseMemHandle(CUdeviceptr address) {
  return enter_context([&](Driver& state, Machine::Lock& lock, DriverContext&) {
    return end_memory(state, lock, address, Allocation::Kind::kOpened, Allocation::Kind::kOpened);
  });
}

}  // extern "C"
