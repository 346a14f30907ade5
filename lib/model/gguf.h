// GGUF files, versions 2 and 3, little endian: typed metadata and where the tensors lie.
//
// Everything is checked against the size of the file when it is opened; memory and time stay
// proportional to that size. Texts and tensors point into the mapping and live as long as the Gguf.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/model/mapped_file.h"
#include "lib/model/quant.h"

namespace tw {

enum class GgufType : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kText,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};

/// A scalar, a text, or an array of one of them.
struct GgufValue {
  GgufType type;  // of the value, or of the array's elements
  bool array;
  uint64_t count;                       // elements; 1 unless an array
  std::string_view raw;                 // numbers: count elements as in the file, any alignment
  std::vector<std::string_view> texts;  // texts: count of them
};

struct GgufTensor {
  std::string_view name;
  QuantType type;
  int dims;           // 1 to 4
  uint64_t shape[4];  // the fastest first, as in the file; 1 beyond dims
  std::string_view data;

  uint64_t row() const { return shape[0]; }
  uint64_t rows() const { return shape[1] * shape[2] * shape[3]; }
};

class Gguf {
 public:
  /// Maps and checks `path`. Throws INVALID_ARGUMENT for what is malformed and UNSUPPORTED for what
  /// is only unknown here, naming file and key or tensor.
  explicit Gguf(const std::string& path);
  /// The same of bytes that the caller keeps; `name` stands for the path in errors.
  Gguf(std::string_view bytes, std::string name);

  const std::string& path() const { return path_; }

  /// Null when there is no such key.
  const GgufValue* find(std::string_view key) const;

  /// Typed reads. Nothing (or an empty list) when there is no such key; a value of another kind
  /// throws INVALID_ARGUMENT naming key, type and what was expected. Any width and sign serves as
  /// an integer, any integer as a number; bools are neither.
  std::optional<std::string_view> text(std::string_view key) const;
  std::optional<int64_t> integer(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;
  std::optional<bool> flag(std::string_view key) const;
  std::span<const std::string_view> texts(std::string_view key) const;
  std::vector<int64_t> integers(std::string_view key) const;
  std::vector<float> numbers(std::string_view key) const;

  /// In the file's order.
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  /// Null when there is no such tensor.
  const GgufTensor* find_tensor(std::string_view name) const;

 private:
  friend class GgufReader;
  [[noreturn]] void refuse(std::string_view key, const char* expected) const;

  MappedFile file_;
  std::string path_;
  std::map<std::string_view, GgufValue> values_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string_view, size_t> places_;  // of tensors, by name
};

}  // namespace tw
