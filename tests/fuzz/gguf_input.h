// What the fuzz target of GGUF files does with one input, a file's bytes. A unit test runs the
// seeds through it.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "lib/base/error.h"
#include "lib/model/desc.h"
#include "lib/model/gguf.h"
#include "lib/model/vocabulary.h"
#include "tests/fuzz/refused.h"

namespace tw::fuzz {

/// Reads every value by every getter: they throw or not, and see nothing outside the file.
inline void ask(const Gguf& gguf, std::string_view key) {
  refused([&] { (void)gguf.text(key); });
  refused([&] { (void)gguf.integer(key); });
  refused([&] { (void)gguf.number(key); });
  refused([&] { (void)gguf.flag(key); });
  refused([&] { (void)gguf.texts(key); });
  refused([&] { (void)gguf.integers(key); });
  refused([&] { (void)gguf.numbers(key); });
}

/// True when the file was taken.
inline bool run_gguf_input(std::string_view input) {
  // Of its own, so that AddressSanitizer knows where it ends.
  const std::vector<char> bytes(input.begin(), input.end());
  return !refused([&] {
    const Gguf gguf(std::string_view(bytes.data(), bytes.size()), "FILE");
    for (const char* key : {"general.architecture", "general.alignment", "k", "a"}) ask(gguf, key);
    for (const GgufTensor& tensor : gguf.tensors()) {
      const QuantFormat& format = quant_format(tensor.type);
      std::vector<float> block(format.block);
      expand(tensor.type, tensor.data.data(), 1, block.data());
      expand(tensor.type, tensor.data.data() + tensor.data.size() - format.bytes, 1, block.data());
    }
    refused(
        [&] { desc_of(gguf, [&gguf](std::string_view name) { return gguf.find_tensor(name); }); });
    refused([&] { vocabulary_of(gguf); });
  });
}

}  // namespace tw::fuzz
