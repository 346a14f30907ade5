// Fuzzes the bootstrap's messages and texts: see boot_input.h.
#include "tests/fuzz/boot_input.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tw::fuzz::count(
      tw::fuzz::run_boot_input(std::string_view(reinterpret_cast<const char*>(data), size)));
  return 0;
}
