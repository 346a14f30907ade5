#include "lib/device/buffer.h"

#include <sys/mman.h>

#include "lib/base/error.h"
#include "lib/base/round.h"
#include "lib/device/shared_memory.h"

namespace tw {

namespace {

size_t unit_of(size_t bytes) { return bytes >= kHugePage ? kHugePage : 4096; }

}  // namespace

size_t Buffer::rounded(size_t bytes) { return round_up(bytes, unit_of(bytes)); }

Buffer::Buffer(size_t bytes) {
  if (bytes == 0) return;
  const size_t unit = unit_of(bytes);
  bytes_ = rounded(bytes);
  // Room to align in; what is too much is given back.
  const size_t room = bytes_ + (unit == kHugePage ? kHugePage : 0);
  void* const at = room < bytes ? MAP_FAILED
                                : mmap(nullptr, room, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) fail(TW_ERROR_OUT_OF_MEMORY, "no memory: %zu bytes", bytes);
  char* const begin = static_cast<char*>(at);
  const size_t skip = (unit - reinterpret_cast<size_t>(begin) % unit) % unit;
  if (skip != 0) munmap(begin, skip);
  if (room > skip + bytes_) munmap(begin + skip + bytes_, room - skip - bytes_);
  data_ = begin + skip;
  if (unit == kHugePage) madvise(data_, bytes_, MADV_HUGEPAGE);
}

Buffer::~Buffer() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

}  // namespace tw
