// Fuzzes the tokenizer: any bytes come back, whatever is merged. See tokenizer_input.h.
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tokenizer_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tw::fuzz::count(
      tw::fuzz::run_tokenizer_input(std::string_view(reinterpret_cast<const char*>(data), size)));
  return 0;
}
