// The driver's calls: errors by cuda.h's documentation, rights of mapped memory, two processes.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>

#include "tests/vgpu/gpu_test.h"

extern char** environ;

namespace tw::test {
namespace {

constexpr size_t kGranularity = size_t{2} << 20;

class DriverCalls : public GpuTest {
 protected:
  struct Row {
    const char* what;
    CUresult want;
    std::function<CUresult()> call;
  };

  void SetUp() override {
    use(0);
    memory = allocate(4096);
    module = load(ptx_head() +
                  ".visible .entry run(.param .u64 a, .param .u32 b)\n"
                  ".maxntid 128, 1, 1\n{ ret; }\n");
    run = function(module, "run");
    arguments = {&memory, &word};
    properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
    elsewhere = properties;
    elsewhere.location.id = 64;
  }
  CUresult launch_of(unsigned grid, unsigned block, unsigned shared, void** with) {
    return cu.cuLaunchKernel(run, grid, 1, 1, block, 1, 1, shared, nullptr, with, nullptr);
  }
  void check(const std::vector<Row>& rows) {
    for (const Row& row : rows) EXPECT_EQ(row.call(), row.want) << row.what;
    // And the context still works.
    TW_CU(launch_of(1, 32, 0, arguments.data()));
    synchronize();
  }

  CUdeviceptr memory = 0;
  CUmodule module = nullptr;
  CUfunction run = nullptr;
  int value = 0, local = 0;
  uint32_t word = 0;
  std::vector<void*> arguments;
  CUmemGenericAllocationHandle handle = 0;
  CUmemAllocationProp properties{}, elsewhere{};
};

TEST_F(DriverCalls, BadDevicesAndMemory) {
  check({
      {"a device that is not there", CUDA_ERROR_INVALID_DEVICE,
       [&] { return cu.cuDeviceGet(&value, 8); }},
      {"a negative device", CUDA_ERROR_INVALID_DEVICE, [&] { return cu.cuDeviceGet(&value, -1); }},
      {"no place for the device", CUDA_ERROR_INVALID_VALUE,
       [&] { return cu.cuDeviceGet(nullptr, 0); }},
      {"an unknown attribute", CUDA_ERROR_INVALID_VALUE,
       [&] { return cu.cuDeviceGetAttribute(&value, static_cast<CUdevice_attribute>(9999), 0); }},
      {"no bytes", CUDA_ERROR_INVALID_VALUE,
       [&] {
         CUdeviceptr p;
         return cu.cuMemAlloc(&p, 0);
       }},
      {"memory that was never allocated", CUDA_ERROR_INVALID_VALUE,
       [&] { return cu.cuMemFree(memory + 16); }},
      {"a copy beyond the end", CUDA_ERROR_INVALID_VALUE,
       [&] { return cu.cuMemcpyHtoD(memory + 4090, &word, 16); }},
      {"a copy to a host pointer", CUDA_ERROR_INVALID_VALUE,
       [&] { return cu.cuMemcpyHtoD(reinterpret_cast<CUdeviceptr>(&local), &word, 4); }},
      {"a fill that is not aligned", CUDA_ERROR_INVALID_VALUE,
       [&] { return cu.cuMemsetD32(memory + 2, 0, 1); }},
      {"a size off the granularity", CUDA_ERROR_INVALID_VALUE,
       [&] { return cu.cuMemCreate(&handle, 4096, &properties, 0); }},
      {"memory of no device", CUDA_ERROR_INVALID_DEVICE,
       [&] { return cu.cuMemCreate(&handle, kGranularity, &elsewhere, 0); }},
      {"a mapping outside of reservations", CUDA_ERROR_INVALID_VALUE,
       [&] { return cu.cuMemMap(kGranularity, kGranularity, 0, handle, 0); }},
      {"rights of what is not mapped", CUDA_ERROR_INVALID_VALUE,
       [&] {
         CUmemAccessDesc d{};
         return cu.cuMemSetAccess(memory, kGranularity, &d, 1);
       }},
      {"a foreign context", CUDA_ERROR_INVALID_CONTEXT,
       [&] { return cu.cuCtxSetCurrent(reinterpret_cast<CUcontext>(&local)); }},
  });
}

TEST_F(DriverCalls, RowsOfAMatrix) {
  const std::vector<unsigned char> there(64, 7);
  TW_CU(cu.cuMemcpyHtoD(memory, there.data(), there.size()));
  std::vector<unsigned char> rows(60);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<unsigned char>(100 + i);
  CUDA_MEMCPY2D how{};  // 3 rows of 5 bytes: from the second of 20 each to rows of 8
  how.srcMemoryType = CU_MEMORYTYPE_HOST;
  how.srcHost = rows.data();
  how.srcPitch = 20;
  how.srcXInBytes = 2;
  how.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
  how.dstDevice = memory;
  how.dstPitch = 8;
  how.dstY = 1;
  how.WidthInBytes = 5;
  how.Height = 3;
  CUDA_MEMCPY2D outside = how, narrow = how, array = how;
  outside.Height = 4096;
  narrow.dstPitch = 4;
  array.srcMemoryType = CU_MEMORYTYPE_ARRAY;
  check({
      {"copied", CUDA_SUCCESS, [&] { return cu.cuMemcpy2DAsync(&how, nullptr); }},
      {"behind the end", CUDA_ERROR_INVALID_VALUE,
       [&] { return cu.cuMemcpy2DAsync(&outside, nullptr); }},
      {"rows that overlap", CUDA_ERROR_INVALID_VALUE,
       [&] { return cu.cuMemcpy2DAsync(&narrow, nullptr); }},
      {"an array", CUDA_ERROR_NOT_SUPPORTED, [&] { return cu.cuMemcpy2DAsync(&array, nullptr); }},
  });
  std::vector<unsigned char> got(64);
  TW_CU(cu.cuMemcpyDtoH(got.data(), memory, got.size()));
  for (size_t i = 0; i < got.size(); ++i) {
    const size_t row = i / 8 - 1, col = i % 8;
    const bool inside = i >= 8 && row < 3 && col < 5;
    EXPECT_EQ(got[i], inside ? 100 + row * 20 + 2 + col : 7) << i;
  }
}

TEST_F(DriverCalls, BadModulesAndLaunches) {
  check({
      {"a function that is not there", CUDA_ERROR_NOT_FOUND,
       [&] {
         CUfunction f;
         return cu.cuModuleGetFunction(&f, module, "other");
       }},
      {"a module that is none", CUDA_ERROR_INVALID_HANDLE,
       [&] {
         CUfunction f;
         return cu.cuModuleGetFunction(&f, reinterpret_cast<CUmodule>(&local), "run");
       }},
      {"text that is no PTX", CUDA_ERROR_INVALID_PTX,
       [&] {
         CUmodule m;
         return cu.cuModuleLoadData(&m, "int main() {}");
       }},
      {"a binary of a GPU", CUDA_ERROR_NO_BINARY_FOR_GPU,
       [&] {
         CUmodule m;
         return cu.cuModuleLoadData(&m, "\177ELF...");
       }},
      {"a target of another chip", CUDA_ERROR_NO_BINARY_FOR_GPU,
       [&] {
         CUmodule m;
         return cu.cuModuleLoadData(&m, ptx_head("sm_100a").c_str());
       }},
      {"an instruction that is unknown", CUDA_ERROR_INVALID_PTX,
       [&] {
         CUmodule m;
         return cu.cuModuleLoadData(
             &m, (ptx_head() + ".entry x() { .reg .b32 %r<2>; frobnicate.b32 %r0, %r1; }").c_str());
       }},
      {"an empty grid", CUDA_ERROR_INVALID_VALUE,
       [&] { return launch_of(0, 32, 0, arguments.data()); }},
      {"too many threads", CUDA_ERROR_INVALID_VALUE,
       [&] { return launch_of(1, 2048, 0, arguments.data()); }},
      {"more threads than the kernel's bound", CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
       [&] { return launch_of(1, 256, 0, arguments.data()); }},
      {"more shared memory than allowed", CUDA_ERROR_INVALID_VALUE,
       [&] { return launch_of(1, 32, 64 << 10, arguments.data()); }},
      {"no arguments", CUDA_ERROR_INVALID_VALUE, [&] { return launch_of(1, 32, 0, nullptr); }},
      {"more shared memory than there is", CUDA_ERROR_INVALID_VALUE,
       [&] {
         return cu.cuFuncSetAttribute(run, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                      300 << 10);
       }},
      {"a stream that is none", CUDA_ERROR_INVALID_HANDLE,
       [&] { return cu.cuStreamSynchronize(reinterpret_cast<CUstream>(&local)); }},
      {"an event that is none", CUDA_ERROR_INVALID_HANDLE,
       [&] { return cu.cuEventRecord(reinterpret_cast<CUevent>(&local), nullptr); }},
  });
}

/// Physical memory of a GPU, mapped with rights for some.
struct Mapped {
  CUmemGenericAllocationHandle handle = 0;
  CUdeviceptr address = 0;
};

class Mappings : public GpuTest {
 protected:
  void map(Mapped* mapped, const std::vector<CUmemAccessDesc>& rights) {
    TW_CU(cu.cuMemAddressReserve(&mapped->address, kGranularity, 0, 0, 0));
    TW_CU(cu.cuMemMap(mapped->address, kGranularity, 0, mapped->handle, 0));
    TW_CU(cu.cuMemSetAccess(mapped->address, kGranularity, rights.data(), rights.size()));
  }
  Mapped make(const std::vector<CUmemAccessDesc>& rights) {
    CUmemAllocationProp properties{};
    properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
    properties.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
    Mapped mapped;
    EXPECT_EQ(cu.cuMemCreate(&mapped.handle, kGranularity, &properties, 0), CUDA_SUCCESS);
    map(&mapped, rights);
    return mapped;
  }
  static CUmemAccessDesc right(int gpu, CUmemAccess_flags flags) {
    return {{CU_MEM_LOCATION_TYPE_DEVICE, gpu}, flags};
  }
};

const char* const kAdd =
    ".visible .entry add(.param .u64 p) { .reg .b64 %d; ld.param.u64 %d, [p]; red.global.add.u32 "
    "[%d], 5; ret; }\n";
const char* const kHandOver =
    ".visible .entry pass(.param .u64 p, .param .u32 mine)\n{\n.reg .b64 %d; .reg .b32 %r<4>; .reg "
    ".pred %q;\n"
    "ld.param.u64 %d, [p]; ld.param.u32 %r1, [mine]; mov.u32 %r2, 0;\n"
    // Ten times: wait for the own turn, give it to the other.
    "NEXT: ld.acquire.sys.global.u32 %r0, [%d]; and.b32 %r3, %r0, 1; setp.ne.u32 %q, %r3, %r1; @%q "
    "bra NEXT;\n"
    "add.u32 %r0, %r0, 1; st.release.sys.global.u32 [%d], %r0;\n"
    "add.u32 %r2, %r2, 1; setp.lt.u32 %q, %r2, 10; @%q bra NEXT; ret;\n}\n";

TEST_F(Mappings, RightsAreEachGpus) {
  const Mapped mapped = make(
      {right(0, CU_MEM_ACCESS_FLAGS_PROT_READWRITE), right(1, CU_MEM_ACCESS_FLAGS_PROT_READWRITE)});
  const uint32_t zero = 0;
  TW_CU(cu.cuMemcpyHtoD(mapped.address, &zero, 4));
  CUdeviceptr address = mapped.address;
  for (int gpu = 0; gpu < 2; ++gpu) {
    use(gpu);
    launch(function(load(ptx_head() + kAdd), "add"), 1, 32, {&address});
    synchronize();
  }
  EXPECT_EQ(download<uint32_t>(address, 1)[0], 2u * 32 * 5);
}

class Doomed : public Mappings {
 public:
  void TestBody() override {}
  void store_without_right() {
    use(0);
    CUdeviceptr address = make({right(0, CU_MEM_ACCESS_FLAGS_PROT_READWRITE),
                                right(1, CU_MEM_ACCESS_FLAGS_PROT_READ)})
                              .address;
    use(1);
    launch(function(load(ptx_head() + kAdd), "add"), 1, 32, {&address});
    synchronize();
  }
};

TEST(MappingReports, StoresWithoutTheRight) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto die = [] {
    ::setenv("TW_VGPU_ON_REPORT", "exit", 1);
    Doomed().store_without_right();
    std::_Exit(0);
  };
  EXPECT_EXIT(die(), ::testing::ExitedWithCode(86),
              "illegal_address: GPU 1.*this GPU has no right to.*mapped memory of GPU 0");
}

class Processes : public Mappings {
 protected:
  void hand_over(int descriptor, uint32_t mine) {
    Mapped mapped;
    TW_CU(cu.cuMemImportFromShareableHandle(
        &mapped.handle, reinterpret_cast<void*>(static_cast<intptr_t>(descriptor)),
        CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
    map(&mapped, {right(0, CU_MEM_ACCESS_FLAGS_PROT_READWRITE)});
    launch(function(load(ptx_head() + kHandOver), "pass"), 1, 1, {&mapped.address, &mine});
    synchronize();
  }
};

/// The other process of SharedMemory, which starts this test by its name.
TEST_F(Processes, DISABLED_Other) {
  const char* descriptor = std::getenv("TW_TEST_DESCRIPTOR");
  ASSERT_NE(descriptor, nullptr);
  hand_over(std::atoi(descriptor), 1);
}

TEST_F(Processes, SharedMemoryByDescriptor) {
  const Mapped mapped = make({right(0, CU_MEM_ACCESS_FLAGS_PROT_READWRITE)});
  int descriptor = -1;
  TW_CU(cu.cuMemExportToShareableHandle(&descriptor, mapped.handle,
                                        CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
  ASSERT_EQ(::fcntl(descriptor, F_SETFD, 0), 0);  // the other process gets it
  ::setenv("TW_TEST_DESCRIPTOR", std::to_string(descriptor).c_str(), 1);
  char program[] = "/proc/self/exe", filter[] = "--gtest_filter=Processes.DISABLED_Other",
       disabled[] = "--gtest_also_run_disabled_tests";
  char* arguments[] = {program, filter, disabled, nullptr};
  pid_t other = 0;
  ASSERT_EQ(::posix_spawn(&other, program, nullptr, nullptr, arguments, environ), 0);
  hand_over(descriptor, 0);
  int status = 0;
  ASSERT_EQ(::waitpid(other, &status, 0), other);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(download<uint32_t>(mapped.address, 1)[0], 20u);
  ::close(descriptor);
}

}  // namespace
}  // namespace tw::test
