#include "tests/vgpu/gpu_test.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

#include "tests/runner/own_folder.h"

namespace tw::test {
namespace {

[[noreturn]] void give_up(const std::string& sentence) {
  std::fprintf(stderr, "%s\n", sentence.c_str());
  std::abort();
}

CudaDriver load_driver() {
  const char* named = std::getenv("TW_CONFORMANCE_DRIVER");
  const std::string path = named != nullptr ? named : virtual_driver();
  ::setenv("TW_VGPU", "8", 0);
  ::setenv("TW_VGPU_ON_REPORT", "continue", 0);
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) give_up(::dlerror());
  const auto look_up =
      reinterpret_cast<decltype(&::cuGetProcAddress_v2)>(::dlsym(library, "cuGetProcAddress_v2"));
  if (look_up == nullptr) give_up("no cuGetProcAddress_v2 in " + path);
  CudaDriver driver;
  const auto find = [&](const char* name, auto* function) {
    void* address = nullptr;
    CUdriverProcAddressQueryResult status;
    if (look_up(name, &address, 13000, 0, &status) != CUDA_SUCCESS)
      give_up(std::string("no ") + name);
    *function = reinterpret_cast<std::remove_pointer_t<decltype(function)>>(address);
  };
#define TW_TEST_CUDA(name, symbol) find(#name, &driver.name);
#include "tests/vgpu/functions.def"
#undef TW_TEST_CUDA
  if (driver.cuInit(0) != CUDA_SUCCESS) give_up("cuInit failed");
  return driver;
}

}  // namespace

const CudaDriver& CudaDriver::get() {
  static const CudaDriver driver = load_driver();
  return driver;
}

void GpuTest::use(int device) {
  CUcontext context = nullptr;
  TW_CU(cu.cuDevicePrimaryCtxRetain(&context, device));
  TW_CU(cu.cuCtxSetCurrent(context));
}

CUmodule GpuTest::load(const std::string& ptx) {
  CUmodule module = nullptr;
  EXPECT_EQ(cu.cuModuleLoadData(&module, ptx.c_str()), CUDA_SUCCESS) << ptx;
  return module;
}

CUfunction GpuTest::function(CUmodule module, const char* name) {
  CUfunction found = nullptr;
  EXPECT_EQ(cu.cuModuleGetFunction(&found, module, name), CUDA_SUCCESS) << name;
  return found;
}

CUdeviceptr GpuTest::allocate(size_t bytes) {
  CUdeviceptr address = 0;
  EXPECT_EQ(cu.cuMemAlloc(&address, bytes), CUDA_SUCCESS) << bytes << " bytes";
  return address;
}

void GpuTest::launch(CUfunction function, unsigned blocks, unsigned threads,
                     std::vector<void*> arguments, unsigned shared, CUstream stream) {
  TW_CU(cu.cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, shared, stream, arguments.data(),
                          nullptr));
}

void GpuTest::synchronize() { TW_CU(cu.cuCtxSynchronize()); }

std::string ptx_head(const char* target) {
  return std::string(".version 9.0\n.target ") + target + "\n.address_size 64\n";
}

}  // namespace tw::test
