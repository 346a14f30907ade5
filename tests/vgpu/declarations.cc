// The library's own declarations of the driver's interface are the toolkit's (only compiled).
#include <cuda.h>

#include <cstddef>

#include "lib/device/gpu/cuda.h"

namespace tw::gpu {

// Each number of lib/device/gpu/cuda.h by its name in the toolkit's.
static_assert(kSuccess == CUDA_SUCCESS && kOutOfMemory == CUDA_ERROR_OUT_OF_MEMORY);
static_assert(kMultiprocessorCount == int{CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT});
static_assert(kCapabilityMajor == int{CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR});
static_assert(kCapabilityMinor == int{CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR});
static_assert(kVirtualMemory == int{CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED});
static_assert(kPosixHandles ==
              int{CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED});
static_assert(kNonBlocking == CU_STREAM_NON_BLOCKING && kDisableTiming == CU_EVENT_DISABLE_TIMING);
static_assert(kPortable == CU_MEMHOSTALLOC_PORTABLE);
static_assert(kDeviceMap == CU_MEMHOSTALLOC_DEVICEMAP);
static_assert(kMaxDynamicShared == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
static_assert(kErrorLogBuffer == CU_JIT_ERROR_LOG_BUFFER);
static_assert(kErrorLogBufferBytes == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
static_assert(kMemoryType == CU_POINTER_ATTRIBUTE_MEMORY_TYPE);
static_assert(kCaptureActive == CU_STREAM_CAPTURE_STATUS_ACTIVE);
static_assert(kPosixDescriptor == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
static_assert(kPinned == CU_MEM_ALLOCATION_TYPE_PINNED && kOnDevice == CU_MEM_LOCATION_TYPE_DEVICE);
static_assert(kReadWrite == CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
static_assert(kMinimumGranularity == CU_MEM_ALLOC_GRANULARITY_MINIMUM);

static_assert(sizeof(Address) == sizeof(CUdeviceptr) && sizeof(DeviceId) == sizeof(CUdevice));
static_assert(sizeof(MemHandle) == sizeof(CUmemGenericAllocationHandle));
static_assert(sizeof(Uuid) == sizeof(CUuuid));
static_assert(sizeof(AllocationProp) == sizeof(CUmemAllocationProp));
static_assert(offsetof(AllocationProp, handle_types) ==
              offsetof(CUmemAllocationProp, requestedHandleTypes));
static_assert(offsetof(AllocationProp, location) == offsetof(CUmemAllocationProp, location));
static_assert(offsetof(AllocationProp, flags) == offsetof(CUmemAllocationProp, allocFlags));
static_assert(sizeof(TensorMap) == sizeof(CUtensorMap));
static_assert(kMapFloat16 == CU_TENSOR_MAP_DATA_TYPE_FLOAT16);
static_assert(kMapFloat32 == CU_TENSOR_MAP_DATA_TYPE_FLOAT32);
static_assert(kMapBfloat16 == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16);
static_assert(kInterleaveNone == CU_TENSOR_MAP_INTERLEAVE_NONE);
static_assert(kSwizzle128 == CU_TENSOR_MAP_SWIZZLE_128B);
static_assert(kPromoteTo128 == CU_TENSOR_MAP_L2_PROMOTION_L2_128B);
static_assert(kZerosOutside == CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
static_assert(sizeof(Copy2D) == sizeof(CUDA_MEMCPY2D) && kAnyMemory == CU_MEMORYTYPE_UNIFIED);
static_assert(offsetof(Copy2D, from_kind) == offsetof(CUDA_MEMCPY2D, srcMemoryType));
static_assert(offsetof(Copy2D, from) == offsetof(CUDA_MEMCPY2D, srcDevice));
static_assert(offsetof(Copy2D, from_stride) == offsetof(CUDA_MEMCPY2D, srcPitch));
static_assert(offsetof(Copy2D, to_kind) == offsetof(CUDA_MEMCPY2D, dstMemoryType));
static_assert(offsetof(Copy2D, to) == offsetof(CUDA_MEMCPY2D, dstDevice));
static_assert(offsetof(Copy2D, to_stride) == offsetof(CUDA_MEMCPY2D, dstPitch));
static_assert(offsetof(Copy2D, bytes) == offsetof(CUDA_MEMCPY2D, WidthInBytes));
static_assert(offsetof(Copy2D, rows) == offsetof(CUDA_MEMCPY2D, Height));
static_assert(sizeof(AccessDesc) == sizeof(CUmemAccessDesc));
static_assert(offsetof(AccessDesc, flags) == offsetof(CUmemAccessDesc, flags));

}  // namespace tw::gpu
