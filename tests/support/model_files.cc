#include "tests/support/model_files.h"

#include <sodium.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

namespace tw {

std::string gguf_text(std::string_view text) {
  return raw(uint64_t{text.size()}) + std::string(text);
}

GgufBytes& GgufBytes::key(std::string_view name, GgufType type, const std::string& value) {
  keys_bytes_ += gguf_text(name) + raw(static_cast<uint32_t>(type)) + value;
  ++keys;
  return *this;
}

GgufBytes& GgufBytes::text(std::string_view name, std::string_view value) {
  return key(name, GgufType::kText, gguf_text(value));
}

GgufBytes& GgufBytes::number(std::string_view name, uint32_t value) {
  return key(name, GgufType::kUint32, raw(value));
}

GgufBytes& GgufBytes::real(std::string_view name, float value) {
  return key(name, GgufType::kFloat32, raw(value));
}

GgufBytes& GgufBytes::texts(std::string_view name, const std::vector<std::string>& values) {
  std::string bytes = raw(static_cast<uint32_t>(GgufType::kText)) + raw(uint64_t{values.size()});
  for (const std::string& value : values) bytes += gguf_text(value);
  return key(name, GgufType::kArray, bytes);
}

GgufBytes& GgufBytes::tensor(std::string_view name, const std::vector<uint64_t>& shape,
                             uint32_t type, uint64_t offset) {
  tensor_bytes_ += gguf_text(name) + raw(static_cast<uint32_t>(shape.size()));
  for (const uint64_t dim : shape) tensor_bytes_ += raw(dim);
  tensor_bytes_ += raw(type) + raw(offset);
  ++tensors;
  return *this;
}

std::string GgufBytes::bytes(size_t size) const {
  std::string result =
      "GGUF" + raw(version_) + raw(tensors) + raw(keys) + keys_bytes_ + tensor_bytes_;
  result.resize((result.size() + 31) / 32 * 32);
  for (size_t i = 0; i < size; ++i) result += static_cast<char>(i * 37);
  return result;
}

std::string safetensors_bytes(std::string_view header, size_t data) {
  return gguf_text(header) + std::string(data, '\x3c');
}

std::string thrown(const std::function<void()>& call, tw_status_t* status) {
  try {
    call();
  } catch (const Error& error) {
    if (status != nullptr) *status = error.status();
    return error.what();
  }
  if (status != nullptr) *status = TW_OK;
  return "";
}

bool says(const std::string& said, const std::string& part) {
  return said.find(part) != std::string::npos;
}

std::string fixture(const std::string& name) { return "tests/fixtures/models/" + name; }

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_text(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

TemporaryFolder::TemporaryFolder() {
  std::string form = (std::filesystem::temp_directory_path() / "tilewire-XXXXXX").string();
  if (mkdtemp(form.data()) == nullptr)
    fail(TW_ERROR_SYSTEM, "no temporary folder %s", form.c_str());
  path_ = form;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

std::string refused_seeds(const std::string& stem, bool (*run)(std::string_view)) {
  std::string refused = "there are none";
  for (const auto& entry : std::filesystem::directory_iterator("tests/fuzz/seeds/" + stem)) {
    if (refused == "there are none") refused.clear();
    if (!run(read_text(entry.path().string()))) refused += entry.path().string() + "\n";
  }
  return refused;
}

namespace {

template <class T>
std::string digest_of(const ModelFile& file, const std::string& name) {
  const Weight& weight = file.weight(name);
  std::vector<T> values(weight.rows * weight.cols);
  file.read_rows(name, 0, weight.rows, values.data());
  unsigned char hash[crypto_hash_sha256_BYTES];
  crypto_hash_sha256(hash, reinterpret_cast<const unsigned char*>(values.data()),
                     values.size() * sizeof(T));
  std::string digest;
  for (const unsigned char byte : hash) digest += text("%02x", byte);
  return digest;
}

}  // namespace

std::string wrong_weights(const ModelFile& file, const std::string& model) {
  std::istringstream lines(read_text(fixture(model + ".digests")));
  std::string name, bf16, fp32, wrong;
  uint64_t rows = 0, cols = 0, count = 0;
  while (lines >> name >> rows >> cols >> bf16 >> fp32) {
    ++count;
    const Weight* const weight = file.find(name);
    if (weight == nullptr)
      wrong += name + ": missing\n";
    else if (weight->rows != rows || weight->cols != cols)
      wrong += name + ": shape\n";
    else if (digest_of<uint16_t>(file, name) != bf16 || digest_of<float>(file, name) != fp32)
      wrong += name + ": values\n";
  }
  return count == 0 ? "no digests" : wrong;
}

}  // namespace tw
