// Fuzzes the values of environment variables: see config_input.h.
#include "tests/fuzz/config_input.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tw::fuzz::count(
      tw::fuzz::run_config_input(std::string_view(reinterpret_cast<const char*>(data), size)));
  return 0;
}
