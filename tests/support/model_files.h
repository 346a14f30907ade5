// Model files for tests: bytes of GGUF and safetensors files made by hand, the fixtures of
// tests/fixtures/models, and what is thrown.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/error.h"
#include "lib/model/file.h"
#include "lib/model/gguf.h"

namespace tw {

/// The bytes of a number.
template <class T>
std::string raw(T number) {
  std::string bytes(sizeof number, '\0');
  std::memcpy(bytes.data(), &number, sizeof number);
  return bytes;
}

/// A text of a GGUF file: its length, and it.
std::string gguf_text(std::string_view text);

/// A GGUF file: keys and tensors are added, then bytes() has it all.
class GgufBytes {
 public:
  explicit GgufBytes(uint32_t version = 3) : version_(version) {}

  GgufBytes& key(std::string_view name, GgufType type, const std::string& value);
  GgufBytes& text(std::string_view name, std::string_view value);
  GgufBytes& number(std::string_view name, uint32_t value);
  GgufBytes& real(std::string_view name, float value);
  GgufBytes& texts(std::string_view name, const std::vector<std::string>& values);
  /// `offset` among the tensors' bytes.
  GgufBytes& tensor(std::string_view name, const std::vector<uint64_t>& shape, uint32_t type,
                    uint64_t offset);
  /// With `size` bytes for the tensors.
  std::string bytes(size_t size) const;

  uint64_t keys = 0;
  uint64_t tensors = 0;

 private:
  uint32_t version_;
  std::string keys_bytes_;
  std::string tensor_bytes_;
};

/// A safetensors file.
std::string safetensors_bytes(std::string_view header, size_t data);

/// What `call` throws, "" when nothing. `status`, unless null, gets the status.
std::string thrown(const std::function<void()>& call, tw_status_t* status = nullptr);

/// Whether an error's sentence has `part`; for EXPECT_PRED2, which prints both.
bool says(const std::string& said, const std::string& part);

std::string fixture(const std::string& name);
std::string read_text(const std::string& path);
void write_text(const std::string& path, std::string_view bytes);

/// A folder that goes with the object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// The seeds of a fuzz target that `run` does not take, or "there are none".
std::string refused_seeds(const std::string& stem, bool (*run)(std::string_view));

/// Weights that differ from the digests of fixture `model`, by name; also of those that `file`
/// lacks.
std::string wrong_weights(const ModelFile& file, const std::string& model);

}  // namespace tw
