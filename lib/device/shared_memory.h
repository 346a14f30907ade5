// Shared memory of one machine: memfds and their mappings. Nothing has a name in the file system,
// so nothing stays behind whatever dies.
#pragma once

#include <cstddef>

#include "lib/base/fd.h"

namespace tw {

inline constexpr size_t kHugePage = size_t{2} << 20;

/// A new memfd of 0 bytes, closed on exec. Throws OUT_OF_RESOURCES and the like.
Fd create_memfd(const char* name);

/// Grows a memfd to `bytes`. Sparse: pages exist when they are touched.
void grow_memfd(const Fd& fd, size_t bytes);

/// Makes [offset, offset + bytes) of the file read as zero again; `at` is where it is mapped. Whole
/// pages are given back to the system where it takes them.
void zero_again(const Fd& fd, size_t file_offset, size_t offset, char* at, size_t bytes);

/// Makes pages of shared memory exist, on the node of the core that this thread runs on, unless
/// they do already; their contents stay. Throws OUT_OF_MEMORY where touching them would end the
/// program.
void touch(char* at, size_t bytes);

/// A shared, writable mapping, aligned to a huge page and advised to use them.
class Mapping {
 public:
  Mapping() = default;
  /// Maps [offset, offset + bytes) of `fd`. Throws OUT_OF_MEMORY when the address space is full.
  Mapping(const Fd& fd, size_t offset, size_t bytes);
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  char* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace tw
