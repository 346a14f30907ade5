#include "tests/vgpu/entries/gpu_entries.h"

#include <malloc.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <utility>

#include "lib/device/gpu_images.h"
#include "tests/vgpu/gpu_test.h"
#include "tilewire/kernels/coll.h"
#include "tilewire/kernels/gemm.h"
#include "tilewire/kernels/pack.h"
#include "tilewire/kernels/program.h"
#include "tilewire/kernels/signal.h"
#include "tilewire/tile/gpu_launch.h"

namespace tw::test {
namespace {

constexpr int kGpus = 8;
constexpr unsigned kCollThreads = 256;
constexpr size_t kHeap = size_t{1} << 30;  // reserved, hardly touched

const CudaDriver& cuda() { return CudaDriver::get(); }

void must(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) return;
  const char* name = nullptr;
  cuda().cuGetErrorName(result, &name);
  std::fprintf(stderr, "%s: %s\n", what, name != nullptr ? name : "unknown");
  std::abort();
}

/// A kernel and how it is launched.
struct Kernel {
  const GpuImage& image;
  const char* name;
  unsigned threads;
  size_t shared;
};

/// The GPUs of all ranks: contexts, a stream each, functions. Calls hold its lock, but not while
/// they wait.
class Gpus {
 public:
  static Gpus& get() {
    static Gpus gpus;
    return gpus;
  }

  void launch(const Kernel& kernel, int rank, void* args, int blocks) {
    CUstream stream = nullptr;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      const int gpu = rank % kGpus;
      must(cuda().cuCtxSetCurrent(contexts_[gpu]), "cuCtxSetCurrent");
      register_memory();
      void* parameters[] = {args};
      stream = streams_[gpu];
      must(cuda().cuLaunchKernel(function(kernel, gpu), static_cast<unsigned>(blocks), 1, 1,
                                 kernel.threads, 1, 1, static_cast<unsigned>(kernel.shared), stream,
                                 parameters, nullptr),
           kernel.name);
    }
    must(cuda().cuStreamSynchronize(stream), kernel.name);
  }

 private:
  using Range = std::pair<uint64_t, uint64_t>;

  Gpus() {
    // One heap that does not grow piece by piece: buffers lie in one registered range each.
    mallopt(M_MMAP_MAX, 0);
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_TRIM_THRESHOLD, -1);
    void* volatile heap = std::malloc(kHeap);
    std::free(heap);
    for (int i = 0; i < kGpus; ++i) {
      must(cuda().cuDevicePrimaryCtxRetain(&contexts_[i], i), "cuDevicePrimaryCtxRetain");
      must(cuda().cuCtxSetCurrent(contexts_[i]), "cuCtxSetCurrent");
      must(cuda().cuStreamCreate(&streams_[i], CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    }
  }

  CUfunction function(const Kernel& kernel, int gpu) {
    CUfunction& found = functions_[{&kernel.image, gpu}];
    if (found != nullptr) return found;
    CUmodule module = nullptr;
    must(cuda().cuModuleLoadData(&module, kernel.image.ptx), kernel.name);
    must(cuda().cuModuleGetFunction(&found, module, (std::string(kernel.name) + "_entry").c_str()),
         kernel.name);
    if (kernel.shared != 0)
      must(cuda().cuFuncSetAttribute(found, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                     static_cast<int>(kernel.shared)),
           kernel.name);
    return found;
  }

  /// What the process has mapped since the last launch may be reached from all GPUs: worlds, cases
  /// and threads' stacks are ordinary memory.
  void register_memory() {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      unsigned long begin = 0, end = 0;
      char rights = 0;
      if (std::sscanf(line.c_str(), "%lx-%lx %c", &begin, &end, &rights) != 3 || rights != 'r' ||
          line.find("[v") != std::string::npos)
        continue;
      for (uint64_t at = begin; at < end;) {
        // The first registered range that ends behind `at`.
        auto next = registered_.upper_bound(at);
        if (next != registered_.begin() && std::prev(next)->second > at) {
          at = std::prev(next)->second;
          continue;
        }
        const uint64_t until =
            next == registered_.end() ? end : std::min<uint64_t>(end, next->first);
        // Memory of the driver's own allocations is not registered.
        cuda().cuMemHostRegister(reinterpret_cast<void*>(at), until - at, 0);
        registered_.emplace(at, until);
        at = until;
      }
    }
  }

  std::mutex mutex_;
  CUcontext contexts_[kGpus] = {};
  CUstream streams_[kGpus] = {};
  std::map<std::pair<const GpuImage*, int>, CUfunction> functions_;
  std::map<uint64_t, uint64_t> registered_;
};

template <class Args>
concept IsTileProgram = requires(const Args& args) {
  args.tiles;
};
template <class Args>
concept IsProgram = requires(const Args& args) {
  args.products;
};

template <class Args>
CommView& view_of(Args& args) {
  if constexpr (IsTileProgram<Args>)
    return args.tiles.comm;
  else
    return args.comm;
}

template <class Args>
void launch(const GpuImage* images, GpuTarget target, const char* name, const void* args, int block,
            int blocks) {
  if (block != 0) return;
  Args own = *static_cast<const Args*>(args);
  if constexpr (IsProgram<Args>) own.products = TW_BF16;
  CommView& comm = view_of(own);
  // In place of the host's: what a block gives up for is said here.
  WaitFailure failure{};
  WaitContext wait = *comm.wait;
  wait.failure = &failure;
  comm.wait = &wait;
  Kernel kernel{images[static_cast<int>(target)], name, kCollThreads, 0};
  if constexpr (IsTileProgram<Args>) {
    const TileLaunch& how = target == GpuTarget::kSm90a ? kSm90aTiles : kSm80Tiles;
    kernel.threads = static_cast<unsigned>(how.threads);
    kernel.shared = how.shared_bytes;
  }
  Gpus::get().launch(kernel, comm.rank, &own, blocks);
  if (failure.status == 0) return;
  ADD_FAILURE() << name << ": block " << failure.block << " of rank " << comm.rank
                << " gave up with status " << failure.status << ": peer " << failure.peer
                << ", index " << failure.index << ", expected " << failure.expected << ", got "
                << failure.got;
}

template <GpuTarget target>
GpuEntries entries_of(const char* name) {
  GpuEntries entries{};
  entries.name = name;
#define TW_KERNEL_ROW(kernel, Args)                                         \
  entries.kernel = [](const void* args, int block, int blocks) {            \
    launch<Args>(gpu_images::kernel, target, #kernel, args, block, blocks); \
  };
#include "kernels/kernels.def"
#include "kernels/program_kernels.def"
#include "kernels/tile_kernels.def"
#undef TW_KERNEL_ROW
  return entries;
}

}  // namespace

const std::vector<GpuEntries>& gpu_entries() {
  static const std::vector<GpuEntries> all = [] {
    std::vector<GpuEntries> built;
    const GpuImage* const any = gpu_images::gemm;
    if (any[static_cast<int>(GpuTarget::kSm90a)].ptx != nullptr)
      built.push_back(entries_of<GpuTarget::kSm90a>("sm_90a"));
    if (any[static_cast<int>(GpuTarget::kSm80)].ptx != nullptr)
      built.push_back(entries_of<GpuTarget::kSm80>("sm_80"));
    return built;
  }();
  return all;
}

}  // namespace tw::test
