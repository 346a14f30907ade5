// What the library uses of the CUDA driver API: its own declarations, so that it builds without the
// toolkit. Values and layouts are those of cuda.h (tests/vgpu/declarations.cc compares them).
#pragma once

#include <cstddef>
#include <cstdint>

namespace tw::gpu {

using Result = int;  // CUresult
inline constexpr Result kSuccess = 0, kOutOfMemory = 2, kNoBinaryForGpu = 209;

using DeviceId = int;        // CUdevice
using Address = uint64_t;    // CUdeviceptr
using MemHandle = uint64_t;  // CUmemGenericAllocationHandle
using Context = struct ContextOf*;
using Module = struct ModuleOf*;
using Function = struct FunctionOf*;
using StreamHandle = struct StreamOf*;
using EventHandle = struct EventOf*;

struct Uuid {
  char bytes[16];
};

enum Attribute : int {
  kMultiprocessorCount = 16,
  kCapabilityMajor = 75,
  kCapabilityMinor = 76,
  kVirtualMemory = 102,
  kPosixHandles = 103,
};

inline constexpr unsigned kNonBlocking = 1;     // cuStreamCreate
inline constexpr unsigned kDisableTiming = 2;   // cuEventCreate
inline constexpr unsigned kPortable = 1;        // cuMemHostAlloc
inline constexpr unsigned kDeviceMap = 2;       // the same
inline constexpr int kMaxDynamicShared = 8;     // cuFuncSetAttribute
inline constexpr int kErrorLogBuffer = 5;       // cuModuleLoadDataEx
inline constexpr int kErrorLogBufferBytes = 6;  // the same
inline constexpr int kMemoryType = 2;           // cuPointerGetAttribute
inline constexpr int kCaptureActive = 1;        // cuStreamIsCapturing
inline constexpr int kPosixDescriptor = 1;      // CUmemAllocationHandleType
inline constexpr int kPinned = 1;               // CUmemAllocationType
inline constexpr int kOnDevice = 1;             // CUmemLocationType
inline constexpr int kReadWrite = 3;            // CUmemAccess_flags
inline constexpr int kMinimumGranularity = 0;   // CUmemAllocationGranularity_flags

/// CUtensorMap: only the driver knows what is in it.
struct alignas(64) TensorMap {
  uint64_t words[16];
};
inline constexpr int kMapFloat16 = 6, kMapFloat32 = 7, kMapBfloat16 = 9;  // CUtensorMapDataType
inline constexpr int kInterleaveNone = 0;                                 // CUtensorMapInterleave
inline constexpr int kSwizzle128 = 3;                                     // CUtensorMapSwizzle
inline constexpr int kPromoteTo128 = 2;                                   // CUtensorMapL2promotion
inline constexpr int kZerosOutside = 0;                                   // CUtensorMapFloatOOBfill

/// CUDA_MEMCPY2D.
struct Copy2D {
  size_t from_x, from_y;
  int from_kind;  // CUmemorytype
  const void* from_host;
  Address from;
  void* from_array;
  size_t from_stride;
  size_t to_x, to_y;
  int to_kind;
  void* to_host;
  Address to;
  void* to_array;
  size_t to_stride;
  size_t bytes, rows;
};
inline constexpr int kAnyMemory = 4;  // CU_MEMORYTYPE_UNIFIED

struct MemLocation {
  int type;
  int id;
};
struct AllocationProp {
  int type;
  int handle_types;
  MemLocation location;
  void* win32_data;
  struct {
    unsigned char compression;
    unsigned char rdma;
    unsigned short usage;
    unsigned char reserved[4];
  } flags;
};
struct AccessDesc {
  MemLocation location;
  int flags;
};

}  // namespace tw::gpu
