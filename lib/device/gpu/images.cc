#include "lib/device/gpu/images.h"

#include "lib/base/error.h"

namespace tw::gpu {

std::optional<GpuTarget> target_of(int major, int minor) {
  if (major == 9 && minor == 0) return GpuTarget::kSm90a;
  if (major >= 8) return GpuTarget::kSm80;
  return std::nullopt;
}

const char* target_name(GpuTarget target) {
  return target == GpuTarget::kSm90a ? "sm_90a" : "sm_80";
}

std::string describe_images(int major, int minor) {
  const std::optional<GpuTarget> target = target_of(major, minor);
  if (!target) return "not supported: kernels are for 8.0 and above";
  if (gpu_images::all_reduce[static_cast<int>(*target)].ptx == nullptr)
    return "not supported: built without nvcc, so there are no GPU kernels";
  const bool native = *target == GpuTarget::kSm90a || major == 8;
  return text("%s kernels%s", target_name(*target), native ? "" : " as PTX");
}

Module load_image(const Driver& driver, const GpuImage& image, const char* name) {
  if (image.ptx == nullptr)
    fail(TW_ERROR_UNSUPPORTED, "kernel \"%s\": this library was built without GPU kernels (nvcc)",
         name);
  Module module = nullptr;
  Result result = driver.cuModuleLoadDataEx(&module, image.cubin, 0, nullptr, nullptr);
  if (result == kSuccess) return module;
  // Any failure of the cubin: another architecture, or a driver that knows none.
  char log[1024] = "";
  int names[] = {kErrorLogBuffer, kErrorLogBufferBytes};
  void* values[] = {log, reinterpret_cast<void*>(sizeof log)};
  result = driver.cuModuleLoadDataEx(&module, image.ptx, 2, names, values);
  if (result == kSuccess) return module;
  fail(result == kOutOfMemory ? TW_ERROR_OUT_OF_MEMORY : TW_ERROR_UNSUPPORTED,
       "kernel \"%s\": the driver (for CUDA %d.%d) takes neither its cubin nor its PTX: %s%s%s",
       name, driver.version() / 1000, driver.version() % 1000 / 10,
       driver.error_text(result).c_str(), log[0] == '\0' ? "" : ": ", log);
}

}  // namespace tw::gpu
