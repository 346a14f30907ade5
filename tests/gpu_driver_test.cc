// The CUDA driver as the library finds it: its own declarations are cuda.h's, and a missing or too
// old driver is a sentence.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <climits>
#include <cstddef>
#include <cstdio>
#include <string>

#include "lib/device/gpu/driver.h"
#include "tests/runner/children.h"
#include "tests/runner/ranks.h"

#if __has_include(<cuda.h>)
#include <cuda.h>

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
static_assert(sizeof(AccessDesc) == sizeof(CUmemAccessDesc));
static_assert(offsetof(AccessDesc, flags) == offsetof(CUmemAccessDesc, flags));

}  // namespace tw::gpu
#endif

namespace tw::test {
namespace {

/// What a comm on GPUs is refused with in a process that finds `driver`; "" for none at all.
int expect_refusal(const std::string& driver, const char* part) {
  if (!driver.empty() && ::dlopen(driver.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr) return 2;
  const ScopedEnv on_gpus("TW_DEVICE_KIND", "gpu");
  tw_comm_t comm;
  const bool refused = tw_comm_create_all(1, nullptr, &comm) == TW_ERROR_UNSUPPORTED &&
                       std::string(tw_last_error()).find(part) != std::string::npos;
  if (!refused) std::fprintf(stderr, "%s\n", tw_last_error());
  const bool described = gpu::describe().find(part) != std::string::npos;
  // CPUs serve as ever.
  const ScopedEnv on_cpus("TW_DEVICE_KIND", "auto");
  if (tw_comm_create_all(1, nullptr, &comm) != TW_OK || tw_comm_destroy(comm) != TW_OK) return 3;
  return refused && described ? 0 : 1;
}

std::string old_driver() {
  char own[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/exe", own, sizeof own - 1);
  std::string path(own, static_cast<size_t>(length > 0 ? length : 0));
  path.resize(path.find_last_of('/'));
  return path + "/old_driver/libcuda.so.1";
}

TEST(GpuDriver, AMissingOneIsASentence) {
  if (::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL) != nullptr)
    GTEST_SKIP() << "this machine has a CUDA driver: a GPU";
  EXPECT_EQ(run_children(1, 1, [](int) { return expect_refusal("", "no CUDA driver"); })[0], 0);
}

TEST(GpuDriver, ATooOldOneIsASentence) {
  EXPECT_EQ(run_children(1, 1,
                         [](int) {
                           return expect_refusal(old_driver(),
                                                 "the CUDA driver is for CUDA 11.8; valid: 12.0");
                         })[0],
            0);
}

}  // namespace
}  // namespace tw::test
