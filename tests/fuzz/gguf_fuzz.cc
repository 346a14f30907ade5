// Fuzzes GGUF files: see gguf_input.h.
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/gguf_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tw::fuzz::count(
      tw::fuzz::run_gguf_input(std::string_view(reinterpret_cast<const char*>(data), size)));
  return 0;
}
