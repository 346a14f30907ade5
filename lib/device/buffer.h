// Memory of a rank's own for launches: scratch, rows, intermediate results.
#pragma once

#include <cstddef>
#include <utility>

namespace tw {

/// Private memory, zeroed when it is made, aligned to a huge page and advised to use them where it
/// is large. Pages exist when they are touched.
class Buffer {
 public:
  Buffer() = default;
  /// Throws OUT_OF_MEMORY.
  explicit Buffer(size_t bytes);
  /// What bytes() of one made with `bytes` is.
  static size_t rounded(size_t bytes);
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer();

  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  char* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace tw
