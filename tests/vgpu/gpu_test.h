// A CUDA driver for tests of virtual GPUs: lib/vgpu's, through dlopen as programs find theirs, or
// with TW_CONFORMANCE_DRIVER=libcuda.so.1 a real one.
#pragma once

#include <cuda.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace tw::test {

/// The driver's functions that tests use: a member for each, by the name that programs ask for.
struct CudaDriver {
#define TW_TEST_CUDA(name, symbol) decltype(&::symbol) name = nullptr;
#include "tests/vgpu/functions.def"
#undef TW_TEST_CUDA

  /// Loaded and initialised once; aborts with a message where that fails.
  static const CudaDriver& get();
};

/// EXPECTs success and names the error otherwise.
#define TW_CU(call)                                                                             \
  do {                                                                                          \
    const CUresult result_ = (call);                                                            \
    const char* name_ = nullptr;                                                                \
    if (result_ != CUDA_SUCCESS) ::tw::test::CudaDriver::get().cuGetErrorName(result_, &name_); \
    ASSERT_EQ(result_, CUDA_SUCCESS) << #call << ": " << (name_ ? name_ : "unknown");           \
  } while (false)

/// Device 0's (or another's) primary context, current while it lives, with what tests need of it.
class GpuTest : public ::testing::Test {
 protected:
  void SetUp() override { use(0); }
  void use(int device);

  CUmodule load(const std::string& ptx);
  CUfunction function(CUmodule module, const char* name);
  CUdeviceptr allocate(size_t bytes);
  void launch(CUfunction function, unsigned blocks, unsigned threads, std::vector<void*> arguments,
              unsigned shared = 0, CUstream stream = nullptr);
  void synchronize();

  template <class T>
  CUdeviceptr upload(const std::vector<T>& values) {
    const CUdeviceptr address = allocate(values.size() * sizeof(T));
    EXPECT_EQ(cu.cuMemcpyHtoD(address, values.data(), values.size() * sizeof(T)), CUDA_SUCCESS);
    return address;
  }
  template <class T>
  std::vector<T> download(CUdeviceptr address, size_t count) {
    std::vector<T> values(count);
    EXPECT_EQ(cu.cuMemcpyDtoH(values.data(), address, count * sizeof(T)), CUDA_SUCCESS);
    return values;
  }

  const CudaDriver& cu = CudaDriver::get();
};

/// The head of a PTX module for the devices of the tests.
std::string ptx_head(const char* target = "sm_80");

}  // namespace tw::test
