// Names and texts of errors.
#include "lib/vgpu/driver/driver.h"

namespace {

struct ErrorWords {
  int value;
  const char *name, *text;
};
constexpr ErrorWords kErrors[] = {
#define TW_VGPU_ERROR(symbol, value, text) {value, #symbol, text},
#include "lib/vgpu/driver/errors.def"
#undef TW_VGPU_ERROR
};

/// *to = a word of `error`, or null for one that there is not.
CUresult find_word(CUresult error, const char* ErrorWords::*word, const char** to) {
  if (to == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *to = nullptr;
  for (const ErrorWords& words : kErrors)
    if (words.value == static_cast<int>(error)) *to = words.*word;
  return *to != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

extern "C" {

CUresult CUDAAPI cuGetErrorName(CUresult error, const char** name) {
  return find_word(error, &ErrorWords::name, name);
}

CUresult CUDAAPI cuGetErrorString(CUresult error, const char** string) {
  return find_word(error, &ErrorWords::text, string);
}

}  // extern "C"
