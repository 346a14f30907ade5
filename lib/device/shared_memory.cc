#include "lib/device/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "lib/base/error.h"

namespace tw {
namespace {

/// MADV_POPULATE_WRITE, which not every C library names.
constexpr int kPopulateWrite = 23;

}  // namespace

Fd create_memfd(const char* name) {
  Fd fd(memfd_create(name, MFD_CLOEXEC));
  if (!fd) fail_errno("memfd_create", errno);
  return fd;
}

void grow_memfd(const Fd& fd, size_t bytes) {
  if (bytes > static_cast<size_t>(INT64_MAX))
    fail(TW_ERROR_OUT_OF_MEMORY, "%zu bytes of shared memory are more than a file holds", bytes);
  // Beyond it the kernel would send SIGXFSZ, which ends the program.
  rlimit limit = {};
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
      bytes > limit.rlim_cur)
    fail(TW_ERROR_OUT_OF_RESOURCES,
         "%zu bytes of shared memory are beyond the limit of %llu (ulimit -f)", bytes,
         static_cast<unsigned long long>(limit.rlim_cur));
  const size_t memory =
      static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (bytes > memory)
    fail(TW_ERROR_OUT_OF_MEMORY, "%zu bytes of shared memory; this machine has %zu bytes of memory",
         bytes, memory);
  if (ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    // EFBIG and EINVAL: beyond what this kernel's shared memory can hold.
    const int error = errno == EFBIG || errno == EINVAL ? ENOMEM : errno;
    fail_errno(text("growing shared memory to %zu bytes", bytes).c_str(), error);
  }
}

void zero_again(const Fd& fd, size_t file_offset, size_t offset, char* at, size_t bytes) {
  constexpr size_t kPage = 4096;
  const size_t first = (offset + kPage - 1) / kPage * kPage,
               last = (offset + bytes) / kPage * kPage;
  if (first >= last) {
    std::memset(at, 0, bytes);
    return;
  }
  std::memset(at, 0, first - offset);
  std::memset(at + (last - offset), 0, offset + bytes - last);
  if (fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                static_cast<off_t>(file_offset + first), static_cast<off_t>(last - first)) != 0)
    std::memset(at + (first - offset), 0, last - first);
}

void touch(char* at, size_t bytes) {
  constexpr uintptr_t kPage = 4096;
  if (bytes == 0) return;
  const uintptr_t first = reinterpret_cast<uintptr_t>(at) / kPage * kPage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(at) + bytes + kPage - 1) / kPage * kPage;
  void* const pages = reinterpret_cast<void*>(first);
  if (madvise(pages, end - first, kPopulateWrite) == 0) return;
  if (errno != EINVAL)
    fail_errno(text("touching %zu bytes of shared memory", bytes).c_str(),
               errno == EFAULT ? ENOMEM : errno);
  // A kernel before 5.14.
  for (uintptr_t page = first; page < end; page += kPage)
    __atomic_fetch_add(reinterpret_cast<char*>(page), 0, __ATOMIC_RELAXED);
}

Mapping::Mapping(const Fd& fd, size_t offset, size_t bytes) : bytes_(bytes) {
  // Reserve with room to align, map over the aligned part, and release the ends.
  const size_t reserve = bytes + kHugePage;
  void* room =
      mmap(nullptr, reserve, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED)
    fail_errno(text("reserving %zu bytes of address space", reserve).c_str(), errno);
  char* const first = static_cast<char*>(room);
  char* const last = first + reserve;
  char* const at = first + (kHugePage - reinterpret_cast<uintptr_t>(first) % kHugePage) % kHugePage;
  void* const data = mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd.get(),
                          static_cast<off_t>(offset));
  if (data == MAP_FAILED) {
    const int error = errno;
    munmap(first, reserve);
    fail_errno(text("mapping %zu bytes of shared memory", bytes).c_str(), error);
  }
  if (at > first) munmap(first, static_cast<size_t>(at - first));
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  char* const end = at + (bytes + page - 1) / page * page;
  if (end < last) munmap(end, static_cast<size_t>(last - end));
  data_ = at;
  madvise(data_, bytes_, MADV_HUGEPAGE);  // advice only: a kernel without them maps small pages
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Mapping::~Mapping() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

}  // namespace tw
