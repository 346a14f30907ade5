// What the fuzz target of Hugging Face's files does with one input. A unit test runs the seeds
// through it. The first byte says what the rest is:
//   's' a safetensors file   'c' a config.json   'i' an index   't' a tokenizer.json
//   'k' a tokenizer_config.json, beside a small tokenizer.json
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "lib/model/desc.h"
#include "lib/model/names.h"
#include "lib/model/safetensors.h"
#include "lib/model/vocabulary.h"
#include "tests/fuzz/refused.h"

namespace tw::fuzz {

constexpr std::string_view kTokenizer =
    R"({"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},)"
    R"("model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}})";

inline void read_safetensors(std::string_view bytes) {
  const Safetensors file(bytes, "FILE");
  for (const SafeTensor& tensor : file.tensors()) {
    const size_t size = quant_format(tensor.type).bytes;
    float value = 0;
    expand(tensor.type, tensor.data.data(), 1, &value);
    expand(tensor.type, tensor.data.data() + tensor.data.size() - size, 1, &value);
    if (file.find_tensor(tensor.name) != &tensor) std::abort();
  }
}

/// True when the file was taken.
inline bool run_safetensors_input(std::string_view input) {
  if (input.empty()) return false;
  // Of its own, so that AddressSanitizer knows where it ends.
  const std::vector<char> copy(input.begin() + 1, input.end());
  const std::string_view bytes(copy.data(), copy.size());
  return !refused([&] {
    switch (input[0]) {
      case 's':
        return read_safetensors(bytes);
      case 'c':
        // Thousands of layers have a name each: the work is the description's, not the file's.
        if (const ModelDesc desc = desc_of_config(bytes, "FILE"); desc.layers < 100)
          expected_weights(desc);
        return;
      case 'i':
        return (void)index_files(bytes, "FILE");
      case 't':
        return (void)vocabulary_of({"FOLDER", bytes, {}, {}, {}});
      case 'k':
        return (void)vocabulary_of({"FOLDER", kTokenizer, bytes, {}, {}});
      default:
        fail(TW_ERROR_INVALID_ARGUMENT, "unknown kind");
    }
  });
}

}  // namespace tw::fuzz
