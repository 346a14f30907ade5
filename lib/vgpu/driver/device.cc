// Initialisation, devices, contexts.
#include <algorithm>
#include <cstring>

#include "lib/vgpu/driver/driver.h"

using namespace tw::
    vgpu;  // NOLINT(google-build-using-namespace): entry points are global C functions

namespace {

constexpr int kVersion = 13000;
constexpr size_t kDeviceMemory = size_t{80} << 30;

struct AttributeRow {
  CUdevice_attribute attribute;
  int value;
};

/// What a Hopper says, as far as programs ask. Anything else is refused, not guessed.
constexpr AttributeRow kAttributes[] = {
    {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, 1024},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, 1024},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, 64},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, 2147483647},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 65535},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, 65535},
    {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 49152},
    {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, static_cast<int>(kBlockShared)},
    {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, static_cast<int>(kSmShared)},
    {CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK, static_cast<int>(kReservedShared)},
    {CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY, 65536},
    {CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32},
    {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, 65536},
    {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, 65536},
    {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, kSmThreads},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR, kSmBlocks},
    {CU_DEVICE_ATTRIBUTE_CLOCK_RATE, 1000000},
    {CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, 1000000},
    {CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, 5120},
    {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 52428800},
    {CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, 3},
    {CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1},
    {CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY, 1},
    {CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS, 1},
    {CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS, 0},
    {CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS, 1},
    {CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY, 1},
    {CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM, 1},
    {CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, 1},
    {CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_FABRIC_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_COMPUTE_MODE, CU_COMPUTEMODE_DEFAULT},
    {CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_INTEGRATED, 0},
    {CU_DEVICE_ATTRIBUTE_ECC_ENABLED, 0},
    {CU_DEVICE_ATTRIBUTE_TCC_DRIVER, 0},
    {CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT, 0},
    {CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID, 0},
    {CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID, 0},
};

DriverContext* find_context(Driver& state, CUcontext handle) {
  for (const auto& primary : state.primaries)
    if (static_cast<void*>(primary.get()) == handle)
      return primary->retained > 0 ? primary.get() : nullptr;
  return state.contexts.find(handle);
}

CUresult make_context(CUcontext* context, unsigned flags, CUdevice device) {
  return enter([&](Driver& state, Machine::Lock&) {
    if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (!state.is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    auto made = std::make_unique<DriverContext>();
    made->gpu = device;
    made->flags = flags;
    made->default_stream = state.machine.make_stream(device, true, true);
    DriverContext* handle = state.contexts.add(std::move(made));
    context_stack().push_back(handle);
    *context = reinterpret_cast<CUcontext>(handle);
    return CUDA_SUCCESS;
  });
}

}  // namespace

extern "C" {

CUresult CUDAAPI cuInit(unsigned flags) {
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  return start_driver();
}

CUresult CUDAAPI cuDriverGetVersion(int* version) {
  if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *version = kVersion;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetCount(int* count) {
  return enter([&](Driver& state, Machine::Lock&) {
    if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *count = state.settings.gpus;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDeviceGet(CUdevice* device, int ordinal) {
  return enter([&](Driver& state, Machine::Lock&) {
    if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (!state.is_device(ordinal)) return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDeviceGetName(char* name, int length, CUdevice device) {
  return enter([&](Driver& state, Machine::Lock&) {
    if (name == nullptr || length <= 0) return CUDA_ERROR_INVALID_VALUE;
    if (!state.is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    std::snprintf(name, static_cast<size_t>(length), "tilewire virtual GPU (sm_%d)",
                  state.settings.capability);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
  return enter([&](Driver& state, Machine::Lock&) {
    if (bytes == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (!state.is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    *bytes = kDeviceMemory;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device) {
  return enter([&](Driver& state, Machine::Lock&) {
    if (uuid == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (!state.is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    std::memcpy(uuid->bytes, "tw virtual GPU ", sizeof uuid->bytes);
    uuid->bytes[15] = static_cast<char>(device);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  return enter([&](Driver& state, Machine::Lock&) {
    if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (!state.is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    const bool is_hopper = state.settings.capability >= 90;
    switch (attribute) {
      case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        *value = state.settings.capability / 10;
        return CUDA_SUCCESS;
      case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        *value = state.settings.capability % 10;
        return CUDA_SUCCESS;
      case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        *value = state.settings.sms;
        return CUDA_SUCCESS;
      case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
        *value = device + 1;
        return CUDA_SUCCESS;
      case CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH:
      case CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED:
      case CU_DEVICE_ATTRIBUTE_TENSOR_MAP_ACCESS_SUPPORTED:
        *value = is_hopper ? 1 : 0;
        return CUDA_SUCCESS;
      default:
        break;
    }
    for (const AttributeRow& row : kAttributes) {
      if (row.attribute != attribute) continue;
      *value = row.value;
      return CUDA_SUCCESS;
    }
    return CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult CUDAAPI cuDeviceCanAccessPeer(int* can, CUdevice device, CUdevice peer) {
  return enter([&](Driver& state, Machine::Lock&) {
    if (can == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (!state.is_device(device) || !state.is_device(peer)) return CUDA_ERROR_INVALID_DEVICE;
    *can = device != peer ? 1 : 0;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  return enter([&](Driver& state, Machine::Lock&) {
    if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (!state.is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    DriverContext* primary = state.primaries[static_cast<size_t>(device)].get();
    ++primary->retained;
    *context = reinterpret_cast<CUcontext>(primary);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  return enter(
      [&](Driver& state, Machine::Lock&) {
        if (!state.is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
        DriverContext* primary = state.primaries[static_cast<size_t>(device)].get();
        if (primary->retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
        --primary->retained;
        return CUDA_SUCCESS;
      },
      true);
}

CUresult CUDAAPI cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* active) {
  return enter([&](Driver& state, Machine::Lock&) {
    if (flags == nullptr || active == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (!state.is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    *flags = state.primaries[static_cast<size_t>(device)]->flags;
    *active = state.primaries[static_cast<size_t>(device)]->retained > 0 ? 1 : 0;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxCreate_v2(CUcontext* context, unsigned flags, CUdevice device) {
  return make_context(context, flags, device);
}

CUresult CUDAAPI cuCtxCreate_v4(CUcontext* context, CUctxCreateParams* parameters, unsigned flags,
                                CUdevice device) {
  if (parameters != nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  return make_context(context, flags, device);
}

CUresult CUDAAPI cuCtxDestroy_v2(CUcontext handle) {
  return enter(
      [&](Driver& state, Machine::Lock& lock) {
        DriverContext* context = state.contexts.find(handle);
        if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
        state.machine.wait(lock, [&] { return state.machine.is_idle(*context->default_stream); });
        std::erase(context_stack(), context);
        state.contexts.remove(context);
        return CUDA_SUCCESS;
      },
      true);
}

CUresult CUDAAPI cuCtxSetCurrent(CUcontext handle) {
  return enter([&](Driver& state, Machine::Lock&) {
    DriverContext* context = find_context(state, handle);
    if (handle != nullptr && context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
    if (!context_stack().empty()) context_stack().pop_back();
    if (context != nullptr) context_stack().push_back(context);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxGetCurrent(CUcontext* handle) {
  return enter([&](Driver&, Machine::Lock&) {
    if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *handle = reinterpret_cast<CUcontext>(current_context());
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxPushCurrent_v2(CUcontext handle) {
  return enter([&](Driver& state, Machine::Lock&) {
    DriverContext* context = find_context(state, handle);
    if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
    context_stack().push_back(context);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxPopCurrent_v2(CUcontext* handle) {
  return enter_context([&](Driver&, Machine::Lock&, DriverContext& context) {
    if (handle != nullptr) *handle = reinterpret_cast<CUcontext>(&context);
    context_stack().pop_back();
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxGetDevice(CUdevice* device) {
  return enter_context([&](Driver&, Machine::Lock&, DriverContext& context) {
    if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *device = context.gpu;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxSynchronize(void) {
  return enter_context([&](Driver& state, Machine::Lock& lock, DriverContext& context) {
    state.machine.wait(lock, [&] { return !state.machine.is_busy(context.gpu); });
    state.machine.host_learns_of(context.gpu);
    return state.fault_error();
  });
}

CUresult CUDAAPI cuCtxEnablePeerAccess(CUcontext handle, unsigned flags) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext& context) {
    const DriverContext* peer = find_context(state, handle);
    if (peer == nullptr || peer == &context) return CUDA_ERROR_INVALID_CONTEXT;
    if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
    for (auto& [begin, allocation] : state.allocations) {
      Region* region = state.machine.memory().find(begin);
      if (allocation.gpu == peer->gpu && region != nullptr)
        region->access[context.gpu] = Access::kReadWrite;
    }
    state.machine.memory().changed();
    state.peer_access[static_cast<size_t>(peer->gpu)] |= 1u << context.gpu;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  return enter_context([&](Driver&, Machine::Lock&, DriverContext&) {
    if (least != nullptr) *least = 0;
    if (greatest != nullptr) *greatest = -5;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemGetInfo_v2(size_t* free_bytes, size_t* total) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext& context) {
    const size_t used = state.allocated[static_cast<size_t>(context.gpu)];
    if (free_bytes != nullptr) *free_bytes = kDeviceMemory - std::min(kDeviceMemory, used);
    if (total != nullptr) *total = kDeviceMemory;
    return CUDA_SUCCESS;
  });
}

}  // extern "C"
