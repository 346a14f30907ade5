// Names and texts of errors.
#include "lib/vgpu/driver/driver.h"

extern "C" {

CUresult CUDAAPI cuGetErrorName(CUresult error, const char** name) {
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *name = nullptr;
  switch (static_cast<int>(error)) {
#define TW_VGPU_ERROR(symbol, value, text) \
  case value:                              \
    *name = #symbol;                       \
    return CUDA_SUCCESS;
#include "lib/vgpu/driver/errors.def"
#undef TW_VGPU_ERROR
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult CUDAAPI cuGetErrorString(CUresult error, const char** string) {
  if (string == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *string = nullptr;
  switch (static_cast<int>(error)) {
#define TW_VGPU_ERROR(symbol, value, text) \
  case value:                              \
    *string = text;                        \
    return CUDA_SUCCESS;
#include "lib/vgpu/driver/errors.def"
#undef TW_VGPU_ERROR
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

}  // extern "C"
