// cuGetProcAddress: functions by name and version.
#include <string_view>

#include "lib/vgpu/driver/driver.h"

namespace {

struct Row {
  std::string_view name;
  void* address;
  int version;
};

}  // namespace

extern "C" {

// An earlier form that cuda.h does not declare.
CUresult CUDAAPI cuCtxCreate_v2(CUcontext* context, unsigned flags, CUdevice device);

CUresult CUDAAPI cuGetProcAddress_v2(const char* symbol, void** address, int version,
                                     cuuint64_t flags, CUdriverProcAddressQueryResult* status) {
  static const Row kRows[] = {
#define TW_VGPU_FUNCTION(name, symbol, version) {#name, reinterpret_cast<void*>(&symbol), version},
#include "lib/vgpu/driver/functions.def"
#undef TW_VGPU_FUNCTION
  };
  if (symbol == nullptr || address == nullptr ||
      flags > CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM)
    return CUDA_ERROR_INVALID_VALUE;
  *address = nullptr;
  int found = -1;
  bool is_known = false;
  for (const Row& row : kRows) {
    if (row.name != symbol) continue;
    is_known = true;
    if (row.version > version || row.version < found) continue;
    found = row.version;
    *address = row.address;
  }
  if (status != nullptr)
    *status = found >= 0 ? CU_GET_PROC_ADDRESS_SUCCESS
              : is_known ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
                         : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  return found >= 0 ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

}  // extern "C"
