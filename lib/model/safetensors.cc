#include "lib/model/safetensors.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/base/error.h"
#include "lib/model/json.h"
#include "lib/model/name_text.h"

namespace tw {
namespace {

constexpr size_t kMaxHeader = size_t{100} << 20;  // the format's own limit
constexpr size_t kMaxDims = 8;
constexpr size_t kMaxIndex = size_t{32} << 20;
constexpr uint64_t kMaxElements = uint64_t{1} << 60;

/// The two numbers of data_offsets, or the dims of shape.
std::vector<uint64_t> numbers_of(const JsonObject& tensor, const char* key, size_t most) {
  const Json* const list = tensor.find(key);
  if (list == nullptr) tensor.missing(key);
  if (!list->is_array() || list->size() > most) tensor.refuse(key, "expected a short array");
  std::vector<uint64_t> numbers;
  for (const Json& number : *list) {
    if (!number.is_number_unsigned()) tensor.refuse(key, "expected numbers from 0");
    numbers.push_back(number.get<uint64_t>());
  }
  return numbers;
}

QuantType type_of(const JsonObject& tensor) {
  const std::string dtype = tensor.text("dtype").value_or("");
  if (dtype == "F32") return QuantType::kF32;
  if (dtype == "F16") return QuantType::kF16;
  if (dtype == "BF16") return QuantType::kBF16;
  if (dtype.empty()) tensor.missing("dtype");
  tensor.refuse("dtype", "supported: F32 F16 BF16", TW_ERROR_UNSUPPORTED);
}

uint64_t bytes_of(const SafeTensor& tensor, const std::string& where) {
  uint64_t elements = 1;
  for (const uint64_t dim : tensor.shape) {
    if (dim == 0) fail(TW_ERROR_INVALID_ARGUMENT, "%s is empty", where.c_str());
    if (dim > kMaxElements / elements)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: a shape beyond 2^60 elements: %s", where.c_str(),
           shape_text(tensor.shape).c_str());
    elements *= dim;
  }
  return elements * quant_format(tensor.type).bytes;
}

/// `data`: all tensors' bytes.
SafeTensor read_tensor(const std::string& name, const Json& json, std::string_view data,
                       const std::string& path) {
  const std::string where = path + ": tensor " + name_text(name);
  if (!json.is_object()) fail(TW_ERROR_INVALID_ARGUMENT, "%s is no object", where.c_str());
  const JsonObject object(json, where);
  SafeTensor tensor{name, type_of(object), numbers_of(object, "shape", kMaxDims), {}};
  const std::vector<uint64_t> offsets = numbers_of(object, "data_offsets", 2);
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > data.size())
    object.refuse("data_offsets",
                  text("expected begin and end within %zu bytes of tensors", data.size()).c_str());
  const uint64_t bytes = bytes_of(tensor, where);
  if (offsets[1] - offsets[0] != bytes)
    object.refuse("data_offsets",
                  text("%s of this shape has %llu bytes", quant_format(tensor.type).name,
                       static_cast<unsigned long long>(bytes))
                      .c_str());
  tensor.data = data.substr(offsets[0], bytes);
  return tensor;
}

}  // namespace

Safetensors::Safetensors(const std::string& path) : file_(path), path_(path) {
  read(file_.bytes());
}

Safetensors::Safetensors(std::string_view bytes, std::string name) : path_(std::move(name)) {
  read(bytes);
}

void Safetensors::read(std::string_view bytes) {
  uint64_t size = 0;
  if (bytes.size() < sizeof size)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %zu bytes; a header's length alone has 8", path_.c_str(),
         bytes.size());
  std::memcpy(&size, bytes.data(), sizeof size);
  bytes.remove_prefix(sizeof size);
  if (size > bytes.size() || size > kMaxHeader)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: a header of %llu bytes; valid: up to %zu", path_.c_str(),
         static_cast<unsigned long long>(size), std::min(bytes.size(), kMaxHeader));
  const std::string_view data = bytes.substr(size);
  const Json header = parse_json(bytes.substr(0, size), kMaxHeader, path_);
  for (const auto& [name, json] : header.items())
    if (name != "__metadata__") tensors_.push_back(read_tensor(name, json, data, path_));
  std::sort(tensors_.begin(), tensors_.end(),
            [](const SafeTensor& a, const SafeTensor& b) { return a.data.data() < b.data.data(); });
  for (size_t i = 0; i < tensors_.size(); ++i) {
    places_.emplace(tensors_[i].name, i);
    if (i > 0 &&
        tensors_[i].data.data() < tensors_[i - 1].data.data() + tensors_[i - 1].data.size())
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: tensor %s overlaps tensor %s", path_.c_str(),
           name_text(tensors_[i].name).c_str(), name_text(tensors_[i - 1].name).c_str());
  }
}

const SafeTensor* Safetensors::find_tensor(std::string_view name) const {
  const auto found = places_.find(name);
  return found == places_.end() ? nullptr : &tensors_[found->second];
}

std::vector<std::string> index_files(std::string_view index, const std::string& path) {
  const Json json = parse_json(index, kMaxIndex, path);
  const JsonObject object(json, path);
  const Json* const map = object.find("weight_map");
  if (map == nullptr) object.missing("weight_map");
  if (!map->is_object() || map->empty())
    object.refuse("weight_map", "expected an object of tensors and files");
  const JsonObject weights(*map, path, "weight_map.");
  std::vector<std::string> files;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string()) weights.refuse(tensor.c_str(), "expected a file's name");
    const auto& name = file.get_ref<const std::string&>();
    // A name that leads elsewhere would let a model read other files.
    if (name.empty() || name[0] == '.' || name.find('/') != std::string::npos ||
        name.find('\0') != std::string::npos)
      weights.refuse(tensor.c_str(), "expected the plain name of a file beside it");
    files.push_back(name);
  }
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  return files;
}

}  // namespace tw
