#include "tests/runner/gpus.h"

#include <dlfcn.h>

#include <cstdlib>

#include "lib/device/gpu_images.h"
#include "tests/runner/own_folder.h"

namespace tw::test {
namespace {

std::string load_driver() {
  if (gpu_images::all_reduce[0].ptx == nullptr) return "this build has no GPU kernels (nvcc)";
  if (::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL) == nullptr) {
    ::setenv("TW_VGPU", "8", 0);
    if (::dlopen(virtual_driver().c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr)
      return std::string("no CUDA driver and no virtual GPUs: ") + ::dlerror();
  }
  return "";
}

/// A function that tests use and the library does not.
template <class... Parameters>
void call(const char* name, Parameters... parameters) {
  static void* const library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  const auto function = reinterpret_cast<gpu::Result (*)(Parameters...)>(::dlsym(library, name));
  ASSERT_NE(function, nullptr) << name;
  ASSERT_EQ(function(parameters...), gpu::kSuccess) << name;
}

gpu::StreamHandle stream_of(void* stream) { return static_cast<gpu::StreamHandle>(stream); }
gpu::Address address_of(const void* memory) { return reinterpret_cast<gpu::Address>(memory); }

}  // namespace

std::string load_gpus() {
  static const std::string why = load_driver();
  return why;
}

std::string find_gpus(int ranks) {
  if (std::string why = load_gpus(); !why.empty()) return why;
  if (!gpu::Driver::why_not().empty()) return gpu::Driver::why_not();
  const int gpus = gpu::Driver::get().gpus();
  if (gpus >= ranks) return "";
  return std::to_string(gpus) + " GPU(s) for " + std::to_string(ranks) + " ranks";
}

Gpu::Gpu(int ordinal) : driver_(gpu::Driver::get()), ordinal_(ordinal) {
  TW_GPU(driver_, cuDevicePrimaryCtxRetain, &context_, ordinal_);
}

Gpu::~Gpu() { driver_.cuDevicePrimaryCtxRelease(ordinal_); }

void* Gpu::allocate(size_t bytes) {
  const gpu::ContextScope scope(driver_, context_);
  gpu::Address address = 0;
  call("cuMemAlloc_v2", &address, bytes);
  return reinterpret_cast<void*>(address);
}

void Gpu::free(void* memory) {
  const gpu::ContextScope scope(driver_, context_);
  call("cuMemFree_v2", address_of(memory));
}

void Gpu::write(void* to, const void* from, size_t bytes) {
  const gpu::ContextScope scope(driver_, context_);
  TW_GPU(driver_, cuMemcpyHtoDAsync, address_of(to), from, bytes, nullptr);
  TW_GPU(driver_, cuStreamSynchronize, nullptr);
}

void Gpu::read(void* to, const void* from, size_t bytes) {
  const gpu::ContextScope scope(driver_, context_);
  TW_GPU(driver_, cuMemcpyDtoHAsync, to, address_of(from), bytes, nullptr);
  TW_GPU(driver_, cuStreamSynchronize, nullptr);
}

void* Gpu::create_stream() {
  const gpu::ContextScope scope(driver_, context_);
  gpu::StreamHandle stream = nullptr;
  TW_GPU(driver_, cuStreamCreate, &stream, gpu::kNonBlocking);
  return stream;
}

void Gpu::destroy_stream(void* stream) {
  const gpu::ContextScope scope(driver_, context_);
  TW_GPU(driver_, cuStreamDestroy, stream_of(stream));
}

void Gpu::synchronize(void* stream) {
  const gpu::ContextScope scope(driver_, context_);
  TW_GPU(driver_, cuStreamSynchronize, stream_of(stream));
}

void Gpu::begin_capture(void* stream) {
  const gpu::ContextScope scope(driver_, context_);
  constexpr int kThreadLocal = 1;
  call("cuStreamBeginCapture_v2", stream, kThreadLocal);
}

void* Gpu::end_capture(void* stream) {
  const gpu::ContextScope scope(driver_, context_);
  void *graph = nullptr, *instance = nullptr;
  call("cuStreamEndCapture", stream, &graph);
  call("cuGraphInstantiateWithFlags", &instance, graph, 0ull);
  call("cuGraphDestroy", graph);
  return instance;
}

void Gpu::launch_graph(void* graph, void* stream) {
  const gpu::ContextScope scope(driver_, context_);
  call("cuGraphLaunch", graph, stream);
}

void Gpu::destroy_graph(void* graph) {
  const gpu::ContextScope scope(driver_, context_);
  call("cuGraphExecDestroy", graph);
}

}  // namespace tw::test
