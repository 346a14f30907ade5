// safetensors files: where the tensors lie.
//
// Everything is checked against the size of the file when it is opened; memory and time stay
// proportional to that size. Tensors point into the mapping and live as long as the object.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/model/mapped_file.h"
#include "lib/model/quant.h"

namespace tw {

struct SafeTensor {
  std::string name;
  QuantType type;               // F32, F16 or BF16
  std::vector<uint64_t> shape;  // the slowest first, as in the file; at most 8 dims
  std::string_view data;
};

class Safetensors {
 public:
  /// Maps and checks `path`. Throws INVALID_ARGUMENT for what is malformed and UNSUPPORTED for what
  /// is only unknown here, naming file and tensor.
  explicit Safetensors(const std::string& path);
  /// The same of bytes that the caller keeps; `name` stands for the path in errors.
  Safetensors(std::string_view bytes, std::string name);

  const std::string& path() const { return path_; }
  /// By place in the file.
  const std::vector<SafeTensor>& tensors() const { return tensors_; }
  /// Null when there is no such tensor.
  const SafeTensor* find_tensor(std::string_view name) const;

 private:
  void read(std::string_view bytes);

  MappedFile file_;
  std::string path_;
  std::vector<SafeTensor> tensors_;
  std::map<std::string_view, size_t> places_;
};

/// The files of a model.safetensors.index.json by name, each a plain file name (anything else is
/// INVALID_ARGUMENT); `path` names the index in errors.
std::vector<std::string> index_files(std::string_view index, const std::string& path);

}  // namespace tw
