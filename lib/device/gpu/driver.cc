#include "lib/device/gpu/driver.h"

#include <dlfcn.h>

#include "lib/base/error.h"
#include "lib/device/gpu/images.h"

namespace tw::gpu {
namespace {

constexpr int kLeastVersion = 12000;  // cuGetProcAddress with versions, multicast, sm_90

std::string version_text(int version) { return text("%d.%d", version / 1000, version % 1000 / 10); }

}  // namespace

struct Driver::Loaded {
  Driver driver;
  std::string why_not = driver.load();
};

const Driver::Loaded& Driver::loaded() {
  static const Loaded* const instance = new Loaded;  // outlives every static destructor
  return *instance;
}

const std::string& Driver::why_not() { return loaded().why_not; }

const Driver& Driver::get() {
  const Loaded& l = loaded();
  if (!l.why_not.empty()) fail(TW_ERROR_UNSUPPORTED, "no GPU can be used: %s", l.why_not.c_str());
  return l.driver;
}

std::string Driver::load() {
  void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const said = dlerror();
    return text("no CUDA driver: %s", said != nullptr ? said : "dlopen failed");
  }
  // These two have their names in every driver.
  const auto version = reinterpret_cast<Result (*)(int*)>(dlsym(library, "cuDriverGetVersion"));
  if (version == nullptr || version(&version_) != kSuccess)
    return "libcuda.so.1 is not a CUDA driver: it has no cuDriverGetVersion";
  if (version_ < kLeastVersion)
    return text("the CUDA driver is for CUDA %s; valid: %s or newer",
                version_text(version_).c_str(), version_text(kLeastVersion).c_str());
  using LookUp = Result (*)(const char*, void**, int, uint64_t, int*);
  const auto look_up = reinterpret_cast<LookUp>(dlsym(library, "cuGetProcAddress_v2"));
  if (look_up == nullptr) return "libcuda.so.1 has no cuGetProcAddress_v2";
  const auto find = [&](const char* name, auto* function) {
    void* address = nullptr;
    int status = 0;
    if (look_up(name, &address, kLeastVersion, 0, &status) != kSuccess || address == nullptr)
      return false;
    *function = reinterpret_cast<std::remove_pointer_t<decltype(function)>>(address);
    return true;
  };
#define TW_GPU_FUNCTION(name, ...) \
  if (!find(#name, &name)) return "libcuda.so.1 has no " #name;
#include "lib/device/gpu/functions.def"
#undef TW_GPU_FUNCTION
  if (const Result result = cuInit(0); result != kSuccess)
    return "cuInit failed: " + error_text(result);
  if (const Result result = cuDeviceGetCount(&gpus_); result != kSuccess)
    return "cuDeviceGetCount failed: " + error_text(result);
  return gpus_ == 0 ? "the CUDA driver has no GPU" : "";
}

std::string Driver::error_text(Result result) const {
  const char *name = nullptr, *said = nullptr;
  cuGetErrorName(result, &name);
  cuGetErrorString(result, &said);
  return text("%s (%s)", name != nullptr ? name : "an unknown error",
              said != nullptr ? said : std::to_string(result).c_str());
}

void Driver::refuse(Result result, const char* what) const {
  fail(result == kOutOfMemory ? TW_ERROR_OUT_OF_MEMORY : TW_ERROR_SYSTEM, "%s failed: %s", what,
       error_text(result).c_str());
}

std::string describe() {
  if (!Driver::why_not().empty()) return "no GPU can be used: " + Driver::why_not();
  const Driver& driver = Driver::get();
  std::string out =
      text("driver for CUDA %s, %d GPU(s)", version_text(driver.version()).c_str(), driver.gpus());
  for (int ordinal = 0; ordinal < driver.gpus(); ++ordinal) {
    DeviceId device = 0;
    char name[128] = "";
    int major = 0, minor = 0;
    driver.cuDeviceGet(&device, ordinal);
    driver.cuDeviceGetName(name, sizeof name, device);
    driver.cuDeviceGetAttribute(&major, kCapabilityMajor, device);
    driver.cuDeviceGetAttribute(&minor, kCapabilityMinor, device);
    out += text("%s %d: %s (%d.%d, %s)", ordinal == 0 ? ":" : ",", ordinal, name, major, minor,
                describe_images(major, minor).c_str());
  }
  return out;
}

}  // namespace tw::gpu
