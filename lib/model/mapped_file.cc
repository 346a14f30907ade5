#include "lib/model/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/fd.h"

namespace tw {

MappedFile::MappedFile(const std::string& path) {
  // O_NONBLOCK: a FIFO must not hold us until it is known not to be a file.
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status = {};
  if (!fd || ::fstat(fd.get(), &status) != 0)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: cannot be opened: %s", path.c_str(),
         std::generic_category().message(errno).c_str());
  if (!S_ISREG(status.st_mode))
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: is not a regular file", path.c_str());
  size_ = static_cast<size_t>(status.st_size);
  if (size_ == 0) return;
  void* const place = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (place == MAP_FAILED) fail_errno(("mmap of " + path).c_str(), errno);
  data_ = static_cast<const char*>(place);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
}

}  // namespace tw
