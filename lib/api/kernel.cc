// Kernels of the user's own: tilewire.h, "Kernels of the user's own".
#include "lib/api/kernel.h"

#include <cstddef>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "lib/api/guard.h"
#include "lib/api/handles.h"
#include "lib/api/issue.h"
#include "lib/device/gpu_images.h"
#include "tilewire/kernels/table.h"

namespace tw::api {
namespace {

constexpr size_t kMaxArgs = 4096;  // what a GPU launch takes as well

/// The struct as it was first, and with the wide CPU targets.
constexpr size_t kFirstSize = offsetof(tw_kernel_t, cpu_wide);
constexpr size_t kWideSize = kFirstSize + sizeof(tw_kernel_t::cpu_wide);

/// The argument struct, copied to memory that is aligned for any type.
struct Arguments {
  explicit Arguments(const void* args, size_t bytes) : words(bytes / 64 + 1) {
    if (bytes != 0) std::memcpy(words.data(), args, bytes);
  }
  struct alignas(64) Line {
    char bytes[64];
  };
  std::vector<Line> words;
};

/// The struct with images for sm_80 too.
constexpr size_t kWholeSize = sizeof(tw_kernel_t);

/// A kernel of the user's as devices take them. One for each table, as long as the process lives:
/// devices know kernels by its place.
const KernelImage& image_of(const tw_kernel_t& kernel) {
  struct Images {
    GpuImage gpu[kGpuTargets];
    KernelImage image;
  };
  static std::mutex mutex;
  static std::map<const tw_kernel_t*, Images>& all = *new std::map<const tw_kernel_t*, Images>;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto [at, is_new] = all.try_emplace(&kernel);
  Images& images = at->second;
  if (is_new) {
    images.gpu[static_cast<int>(GpuTarget::kSm90a)] = {kernel.cubin, kernel.cubin_bytes,
                                                       kernel.ptx};
    if (kernel.size >= kWholeSize)
      images.gpu[static_cast<int>(GpuTarget::kSm80)] = {kernel.cubin_sm_80,
                                                        kernel.cubin_sm_80_bytes, kernel.ptx_sm_80};
    images.image = {kernel.name, {}, kernel.args_bytes, images.gpu, false};
  }
  return images.image;
}

tw_status_t launch_on_gpu(Comm& comm, const tw_kernel_t& kernel, const void* args, int blocks,
                          tw_stream_t stream) {
  const Kernel loaded = comm.device().kernel(image_of(kernel));
  return issue(comm, stream, [&] {
    comm.device().launch(loaded, args, blocks);
    return TW_OK;
  });
}

tw_status_t launch(Comm& comm, const tw_kernel_t& kernel, const void* args, size_t bytes,
                   int blocks, tw_stream_t stream) {
  if (!comm.device().is_host()) return launch_on_gpu(comm, kernel, args, blocks, stream);
  const CpuEntry entry = entry_of(kernel, comm.device().target(), "tw_kernel_launch");
  const auto run = [&comm, entry, blocks](const void* arguments) {
    comm.device().launch(entry, arguments, blocks);
    comm.check();
    return TW_OK;
  };
  // Inline the launch is over before this returns: the caller's own struct will do.
  if (stream == nullptr) return issue(comm, stream, [&] { return run(args); });
  const auto copy = std::make_shared<Arguments>(args, bytes);
  return issue(comm, stream, [run, copy] { return run(copy->words.data()); });
}

}  // namespace

void check_kernel(const tw_kernel_t* kernel, size_t bytes, const char* argument,
                  const char* function) {
  if (kernel->size < kFirstSize)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: kernel->size = %zu; valid: at least %zu", function,
         kernel->size, kFirstSize);
  if (kernel->version != kCommLayoutVersion)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: kernel \"%s\" was built against layout version %u of the device views; "
         "this library's is %u: rebuild the kernel with its headers",
         function, kernel->name, kernel->version, kCommLayoutVersion);
  if (bytes != kernel->args_bytes || bytes > kMaxArgs)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: %s = %zu; valid: %zu, the argument struct of kernel \"%s\"", function, argument,
         bytes, kernel->args_bytes, kernel->name);
}

CpuEntry entry_of(const tw_kernel_t& kernel, CpuTarget target, const char* function) {
  const bool wide = kernel.size >= kWideSize;
  const CpuEntry entries[kCpuTargets] = {wide ? kernel.cpu_wide[0] : nullptr,
                                         wide ? kernel.cpu_wide[1] : nullptr, kernel.cpu[0],
                                         kernel.cpu[1], kernel.cpu[2]};
  for (int i = static_cast<int>(target); i < kCpuTargets; ++i)
    if (entries[i] != nullptr) return entries[i];
  fail(TW_ERROR_UNSUPPORTED,
       "%s: kernel \"%s\" was not built for %s nor for a target that it includes", function,
       kernel.name, cpu_target_name(target));
}

}  // namespace tw::api

tw_status_t tw_kernel_launch(const tw_kernel_t* kernel, tw_comm_t comm, const void* args,
                             size_t bytes, int blocks, tw_stream_t stream) {
  using namespace tw;       // NOLINT(google-build-using-namespace): entry point of this layer
  using namespace tw::api;  // NOLINT(google-build-using-namespace): entry point of this layer
  return guard([&] {
    require(kernel, "tw_kernel_launch", "kernel");
    check_kernel(kernel, bytes, "bytes", "tw_kernel_launch");
    if (bytes != 0) require(args, "tw_kernel_launch", "args");
    const auto pinned = pin(comm);
    Comm& c = *pinned;
    require_range(blocks, 0, c.view().layout.blocks, "tw_kernel_launch", "blocks");
    return launch(c, *kernel, args, bytes, blocks != 0 ? blocks : c.max_blocks(), stream);
  });
}
