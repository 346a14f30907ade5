// Virtual memory management: physical memory by handle, reserved addresses, mappings with rights
// for each device, descriptors for other processes; multicast objects.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "lib/vgpu/driver/driver.h"

using namespace tw::
    vgpu;  // NOLINT(google-build-using-namespace): entry points are global C functions

namespace {

constexpr size_t kGranularity = size_t{2} << 20;

Physical* find_physical(Driver& state, CUmemGenericAllocationHandle handle) {
  return state.physicals.find(reinterpret_cast<const void*>(handle));
}

CUmemGenericAllocationHandle handle_of(const Physical* physical) {
  return reinterpret_cast<CUmemGenericAllocationHandle>(physical);
}

bool is_whole(size_t bytes) { return bytes > 0 && bytes % kGranularity == 0; }

/// Whether [address, address + bytes) is within one reservation.
bool is_reserved(const Driver& state, uint64_t address, size_t bytes) {
  auto at = state.reservations.upper_bound(address);
  if (at == state.reservations.begin()) return false;
  --at;
  return address + bytes <= at->first + at->second && address + bytes > address;
}

/// The mappings that make up exactly [address, address + bytes); empty when none do.
std::vector<std::pair<const uint64_t, Mapping>*> mapped(Driver& state, uint64_t address,
                                                        size_t bytes) {
  std::vector<std::pair<const uint64_t, Mapping>*> found;
  uint64_t next = address;
  for (auto at = state.mappings.find(address); next < address + bytes; ++at) {
    if (at == state.mappings.end() || at->first != next) return {};
    found.push_back(&*at);
    next += at->second.bytes;
  }
  return next == address + bytes ? found : std::vector<std::pair<const uint64_t, Mapping>*>();
}

bool check_properties(const Driver& state, const CUmemAllocationProp* properties) {
  return properties != nullptr && properties->type == CU_MEM_ALLOCATION_TYPE_PINNED &&
         properties->location.type == CU_MEM_LOCATION_TYPE_DEVICE &&
         state.is_device(properties->location.id) &&
         (properties->requestedHandleTypes == CU_MEM_HANDLE_TYPE_NONE ||
          properties->requestedHandleTypes == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
}

Region region_of(uint64_t address, const Mapping& mapping) {
  const Physical& physical = *mapping.physical;
  Region region;
  region.begin = address;
  region.end = address + mapping.bytes;
  region.home = physical.gpu;
  region.origin =
      (physical.is_multicast ? "a mapped multicast object of "
                             : "mapped memory of GPU " + std::to_string(physical.gpu) + " of ") +
      std::to_string(mapping.bytes) + " bytes";
  return region;
}

/// Where the members' memory of a mapped multicast object lies, in the order of the devices.
void set_replicas(Region* region, const Mapping& mapping) {
  region->replicas.clear();
  for (const Physical::Binding& binding : mapping.physical->bindings)
    if (binding.at <= mapping.offset &&
        binding.at + binding.bytes >= mapping.offset + mapping.bytes)
      region->replicas.push_back(reinterpret_cast<uint64_t>(binding.view) + mapping.offset -
                                 binding.at);
}

/// Bindings may come after mappings.
void refresh_replicas(Driver& state, const Physical* object) {
  for (auto& [address, mapping] : state.mappings)
    if (mapping.physical == object)
      if (Region* region = state.machine.memory().find(address)) set_replicas(region, mapping);
  state.machine.memory().changed();
}

}  // namespace

extern "C" {

CUresult CUDAAPI cuMemGetAllocationGranularity(size_t* granularity,
                                               const CUmemAllocationProp* properties,
                                               CUmemAllocationGranularity_flags option) {
  return enter([&](Driver& state, Machine::Lock&) {
    if (granularity == nullptr || !check_properties(state, properties) ||
        (option != CU_MEM_ALLOC_GRANULARITY_MINIMUM &&
         option != CU_MEM_ALLOC_GRANULARITY_RECOMMENDED))
      return CUDA_ERROR_INVALID_VALUE;
    *granularity = kGranularity;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemCreate(CUmemGenericAllocationHandle* handle, size_t bytes,
                             const CUmemAllocationProp* properties, unsigned long long flags) {
  return enter([&](Driver& state, Machine::Lock&) {
    if (handle == nullptr || !is_whole(bytes) || flags != 0 || properties == nullptr)
      return CUDA_ERROR_INVALID_VALUE;
    if (properties->location.type == CU_MEM_LOCATION_TYPE_DEVICE &&
        !state.is_device(properties->location.id))
      return CUDA_ERROR_INVALID_DEVICE;
    if (!check_properties(state, properties)) return CUDA_ERROR_NOT_SUPPORTED;
    auto physical = std::make_unique<Physical>();
    physical->fd.reset(::memfd_create("vgpu", MFD_CLOEXEC));
    physical->bytes = bytes;
    physical->gpu = properties->location.id;
    physical->handle_types = properties->requestedHandleTypes;
    if (!physical->fd || ::ftruncate(physical->fd.get(), static_cast<off_t>(bytes)) != 0)
      return CUDA_ERROR_OUT_OF_MEMORY;
    state.allocated[static_cast<size_t>(physical->gpu)] += bytes;
    *handle = handle_of(state.physicals.add(std::move(physical)));
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemRelease(CUmemGenericAllocationHandle handle) {
  return enter(
      [&](Driver& state, Machine::Lock&) {
        Physical* physical = find_physical(state, handle);
        if (physical == nullptr) return CUDA_ERROR_INVALID_VALUE;
        state.drop(physical);
        return CUDA_SUCCESS;
      },
      true);
}

CUresult CUDAAPI cuMemAddressReserve(CUdeviceptr* address, size_t bytes, size_t align,
                                     CUdeviceptr wish, unsigned long long flags) {
  return enter([&](Driver& state, Machine::Lock&) {
    if (address == nullptr || !is_whole(bytes) || flags != 0 || (align & (align - 1)) != 0)
      return CUDA_ERROR_INVALID_VALUE;
    const size_t aligned = std::max(align, kGranularity);
    // More than is needed, to cut an aligned piece out of it.
    void* memory = ::mmap(reinterpret_cast<void*>(wish), bytes + aligned, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
    const auto begin = reinterpret_cast<uint64_t>(memory);
    const uint64_t result = (begin + aligned - 1) / aligned * aligned;
    if (result > begin) ::munmap(memory, result - begin);
    const uint64_t rest = begin + aligned - result;
    if (rest > 0) ::munmap(reinterpret_cast<void*>(result + bytes), rest);
    state.reservations.emplace(result, bytes);
    *address = result;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemAddressFree(CUdeviceptr address, size_t bytes) {
  return enter(
      [&](Driver& state, Machine::Lock&) {
        const auto at = state.reservations.find(address);
        if (at == state.reservations.end() || at->second != bytes) return CUDA_ERROR_INVALID_VALUE;
        const auto mapping = state.mappings.lower_bound(address);
        if (mapping != state.mappings.end() && mapping->first < address + bytes)
          return CUDA_ERROR_INVALID_VALUE;
        ::munmap(reinterpret_cast<void*>(address), bytes);
        state.reservations.erase(at);
        return CUDA_SUCCESS;
      },
      true);
}

CUresult CUDAAPI cuMemMap(CUdeviceptr address, size_t bytes, size_t offset,
                          CUmemGenericAllocationHandle handle, unsigned long long flags) {
  return enter([&](Driver& state, Machine::Lock&) {
    Physical* physical = find_physical(state, handle);
    if (physical == nullptr || flags != 0 || !is_whole(bytes) || address % kGranularity != 0 ||
        offset % kGranularity != 0 || offset + bytes > physical->bytes ||
        !is_reserved(state, address, bytes))
      return CUDA_ERROR_INVALID_VALUE;
    const auto next = state.mappings.lower_bound(address);
    if (next != state.mappings.end() && next->first < address + bytes)
      return CUDA_ERROR_INVALID_VALUE;
    if (next != state.mappings.begin() &&
        std::prev(next)->first + std::prev(next)->second.bytes > address)
      return CUDA_ERROR_INVALID_VALUE;
    if (!physical->is_multicast &&
        ::mmap(reinterpret_cast<void*>(address), bytes, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_FIXED, physical->fd.get(),
               static_cast<off_t>(offset)) == MAP_FAILED)
      return CUDA_ERROR_OUT_OF_MEMORY;
    const Mapping mapping{bytes, physical, offset};
    ++physical->references;
    state.mappings.emplace(address, mapping);
    Region region = region_of(address, mapping);
    if (physical->is_multicast) set_replicas(&region, mapping);
    state.machine.memory().add(std::move(region));
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemUnmap(CUdeviceptr address, size_t bytes) {
  return enter(
      [&](Driver& state, Machine::Lock& lock) {
        if (mapped(state, address, bytes).empty()) return CUDA_ERROR_INVALID_VALUE;
        state.machine.wait(lock, [&] { return !state.machine.is_busy(-1); });
        for (const auto* entry : mapped(state, address, bytes)) {
          const uint64_t begin = entry->first;
          const Mapping mapping = entry->second;
          state.machine.memory().remove(begin);
          ::mmap(reinterpret_cast<void*>(begin), mapping.bytes, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
          state.drop(mapping.physical);
          state.mappings.erase(begin);
        }
        return CUDA_SUCCESS;
      },
      true);
}

CUresult CUDAAPI cuMemSetAccess(CUdeviceptr address, size_t bytes, const CUmemAccessDesc* rights,
                                size_t count) {
  return enter([&](Driver& state, Machine::Lock&) {
    const auto entries = mapped(state, address, bytes);
    if (rights == nullptr || count == 0 || entries.empty()) return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; ++i)
      if (rights[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
          !state.is_device(rights[i].location.id))
        return CUDA_ERROR_INVALID_DEVICE;
    for (const auto* entry : entries) {
      Region* region = state.machine.memory().find(entry->first);
      for (size_t i = 0; i < count; ++i)
        region->access[rights[i].location.id] =
            rights[i].flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE ? Access::kReadWrite
            : rights[i].flags == CU_MEM_ACCESS_FLAGS_PROT_READ    ? Access::kRead
                                                                  : Access::kNone;
    }
    state.machine.memory().changed();
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemGetAccess(unsigned long long* flags, const CUmemLocation* location,
                                CUdeviceptr address) {
  return enter([&](Driver& state, Machine::Lock&) {
    const Region* region = state.machine.memory().find(address);
    if (flags == nullptr || location == nullptr || region == nullptr ||
        location->type != CU_MEM_LOCATION_TYPE_DEVICE || !state.is_device(location->id))
      return CUDA_ERROR_INVALID_VALUE;
    const Access access = region->access[location->id];
    *flags = access == Access::kReadWrite ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE
             : access == Access::kRead    ? CU_MEM_ACCESS_FLAGS_PROT_READ
                                          : CU_MEM_ACCESS_FLAGS_PROT_NONE;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemExportToShareableHandle(void* shareable, CUmemGenericAllocationHandle handle,
                                              CUmemAllocationHandleType type,
                                              unsigned long long flags) {
  return enter([&](Driver& state, Machine::Lock&) {
    const Physical* physical = find_physical(state, handle);
    if (shareable == nullptr || physical == nullptr || flags != 0 ||
        type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR ||
        (physical->handle_types & CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) == 0)
      return CUDA_ERROR_INVALID_VALUE;
    if (physical->is_multicast) return CUDA_ERROR_NOT_SUPPORTED;
    const int copy = ::fcntl(physical->fd.get(), F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return CUDA_ERROR_OPERATING_SYSTEM;
    *static_cast<int*>(shareable) = copy;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemImportFromShareableHandle(CUmemGenericAllocationHandle* handle,
                                                void* shareable, CUmemAllocationHandleType type) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext& context) {
    if (handle == nullptr || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
      return CUDA_ERROR_INVALID_VALUE;
    const int descriptor = static_cast<int>(reinterpret_cast<intptr_t>(shareable));
    struct stat about {};
    if (::fstat(descriptor, &about) != 0 || !is_whole(static_cast<size_t>(about.st_size)))
      return CUDA_ERROR_INVALID_VALUE;
    auto physical = std::make_unique<Physical>();
    physical->fd.reset(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
    if (!physical->fd) return CUDA_ERROR_OPERATING_SYSTEM;
    physical->bytes = static_cast<size_t>(about.st_size);
    physical->gpu = context.gpu;
    physical->handle_types = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
    state.allocated[static_cast<size_t>(physical->gpu)] += physical->bytes;
    *handle = handle_of(state.physicals.add(std::move(physical)));
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp* properties,
                                                        CUmemGenericAllocationHandle handle) {
  return enter([&](Driver& state, Machine::Lock&) {
    const Physical* physical = find_physical(state, handle);
    if (properties == nullptr || physical == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *properties = CUmemAllocationProp{};
    properties->type = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties->location = {CU_MEM_LOCATION_TYPE_DEVICE, physical->gpu};
    properties->requestedHandleTypes =
        static_cast<CUmemAllocationHandleType>(physical->handle_types);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemRetainAllocationHandle(CUmemGenericAllocationHandle* handle, void* address) {
  return enter([&](Driver& state, Machine::Lock&) {
    auto at = state.mappings.upper_bound(reinterpret_cast<uint64_t>(address));
    if (handle == nullptr || at == state.mappings.begin()) return CUDA_ERROR_INVALID_VALUE;
    --at;
    if (reinterpret_cast<uint64_t>(address) >= at->first + at->second.bytes)
      return CUDA_ERROR_INVALID_VALUE;
    ++at->second.physical->references;
    *handle = handle_of(at->second.physical);
    return CUDA_SUCCESS;
  });
}

// ---- Multicast objects ----------------------------------------------------------------------

CUresult CUDAAPI cuMulticastGetGranularity(size_t* granularity,
                                           const CUmulticastObjectProp* properties,
                                           CUmulticastGranularity_flags option) {
  return enter([&](Driver& state, Machine::Lock&) {
    if (granularity == nullptr || properties == nullptr ||
        (option != CU_MULTICAST_GRANULARITY_MINIMUM &&
         option != CU_MULTICAST_GRANULARITY_RECOMMENDED))
      return CUDA_ERROR_INVALID_VALUE;
    if (state.settings.capability < 90) return CUDA_ERROR_NOT_SUPPORTED;
    *granularity = kGranularity;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMulticastCreate(CUmemGenericAllocationHandle* handle,
                                   const CUmulticastObjectProp* properties) {
  return enter([&](Driver& state, Machine::Lock&) {
    if (handle == nullptr || properties == nullptr || properties->numDevices == 0 ||
        !is_whole(properties->size) || properties->flags != 0)
      return CUDA_ERROR_INVALID_VALUE;
    if (state.settings.capability < 90) return CUDA_ERROR_NOT_SUPPORTED;
    auto object = std::make_unique<Physical>();
    object->is_multicast = true;
    object->bytes = properties->size;
    object->device_count = properties->numDevices;
    object->handle_types = static_cast<unsigned>(properties->handleTypes);
    *handle = handle_of(state.physicals.add(std::move(object)));
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMulticastAddDevice(CUmemGenericAllocationHandle handle, CUdevice device) {
  return enter([&](Driver& state, Machine::Lock&) {
    Physical* object = find_physical(state, handle);
    if (object == nullptr || !object->is_multicast) return CUDA_ERROR_INVALID_VALUE;
    if (!state.is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    if (object->devices.size() == object->device_count ||
        std::count(object->devices.begin(), object->devices.end(), device) != 0)
      return CUDA_ERROR_INVALID_VALUE;
    object->devices.push_back(device);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMulticastBindMem(CUmemGenericAllocationHandle handle, size_t at,
                                    CUmemGenericAllocationHandle memory_handle, size_t offset,
                                    size_t bytes, unsigned long long flags) {
  return enter([&](Driver& state, Machine::Lock&) {
    Physical* object = find_physical(state, handle);
    Physical* memory = find_physical(state, memory_handle);
    if (object == nullptr || !object->is_multicast || memory == nullptr || memory->is_multicast ||
        flags != 0 || !is_whole(bytes) || at % kGranularity != 0 || offset % kGranularity != 0 ||
        at + bytes > object->bytes || offset + bytes > memory->bytes)
      return CUDA_ERROR_INVALID_VALUE;
    // All devices come before the first binding.
    if (object->devices.size() < object->device_count) return CUDA_ERROR_ILLEGAL_STATE;
    if (std::count(object->devices.begin(), object->devices.end(), memory->gpu) == 0)
      return CUDA_ERROR_INVALID_DEVICE;
    for (const Physical::Binding& other : object->bindings)
      if (other.gpu == memory->gpu && at < other.at + other.bytes && other.at < at + bytes)
        return CUDA_ERROR_INVALID_VALUE;
    void* view = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd.get(),
                        static_cast<off_t>(offset));
    if (view == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
    ++memory->references;
    object->bindings.push_back(
        {memory->gpu, at, memory, offset, bytes, static_cast<uint8_t*>(view)});
    std::sort(object->bindings.begin(), object->bindings.end(),
              [](const Physical::Binding& a, const Physical::Binding& b) { return a.gpu < b.gpu; });
    refresh_replicas(state, object);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMulticastUnbind(CUmemGenericAllocationHandle handle, CUdevice device, size_t at,
                                   size_t bytes) {
  return enter(
      [&](Driver& state, Machine::Lock& lock) {
        Physical* object = find_physical(state, handle);
        if (object == nullptr || !object->is_multicast) return CUDA_ERROR_INVALID_VALUE;
        if (!state.is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
        const auto is_it = [&](const Physical::Binding& binding) {
          return binding.gpu == device && binding.at == at && binding.bytes == bytes;
        };
        const auto binding = std::find_if(object->bindings.begin(), object->bindings.end(), is_it);
        if (binding == object->bindings.end()) return CUDA_ERROR_INVALID_VALUE;
        state.machine.wait(lock, [&] { return !state.machine.is_busy(-1); });
        const Physical::Binding removed = *binding;
        object->bindings.erase(binding);
        refresh_replicas(state, object);
        ::munmap(removed.view, removed.bytes);
        state.drop(removed.memory);
        return CUDA_SUCCESS;
      },
      true);
}

}  // extern "C"
