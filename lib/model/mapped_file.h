// A file mapped for reading.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tw {

/// Pages come in as they are touched. The file must not be cut while it is mapped: touching what is
/// gone is a SIGBUS, as with any mapping.
class MappedFile {
 public:
  MappedFile() = default;
  /// Throws INVALID_ARGUMENT naming the path when it is not a readable regular file.
  explicit MappedFile(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::string_view bytes() const { return {data_, size_}; }

 private:
  const char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace tw
