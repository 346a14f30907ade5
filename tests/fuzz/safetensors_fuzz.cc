// Fuzzes the files of Hugging Face models: see safetensors_input.h.
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/safetensors_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tw::fuzz::count(
      tw::fuzz::run_safetensors_input(std::string_view(reinterpret_cast<const char*>(data), size)));
  return 0;
}
