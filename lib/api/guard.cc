#include "lib/api/guard.h"

#include <cstring>

namespace tw::api {
namespace {

/// Fixed size: keeping a sentence never fails.
thread_local char t_sentence[1024] = "";

}  // namespace

tw_status_t report(tw_status_t status, const char* sentence) noexcept {
  std::strncpy(t_sentence, sentence, sizeof t_sentence - 1);
  t_sentence[sizeof t_sentence - 1] = '\0';
  return status;
}

tw_status_t report_current() noexcept {
  try {
    const Error error = current_error();
    return report(error.status(), error.what());
  } catch (...) {  // no memory for the sentence
    return report(TW_ERROR_OUT_OF_MEMORY, "out of memory");
  }
}

void copy_versioned(void* to, size_t known, const void* from, const char* name) {
  size_t size;
  std::memcpy(&size, from, sizeof size);
  if (size < sizeof size)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s.size = %zu; valid: set by its initialiser macro (%zu)",
         name, size, known);
  if (size > known) {
    const unsigned char* bytes = static_cast<const unsigned char*>(from);
    constexpr size_t kMostBytes = 4096;  // no struct of any version is longer: `size` is garbage
    if (size > kMostBytes)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s.size = %zu; valid: up to %zu", name, size, kMostBytes);
    for (size_t i = known; i < size; ++i)
      if (bytes[i] != 0)
        fail(TW_ERROR_INVALID_ARGUMENT,
             "%s.size = %zu: this library knows %zu bytes, and byte %zu beyond is not zero", name,
             size, known, i);
    size = known;
  }
  std::memcpy(to, from, size);
  std::memcpy(to, &known, sizeof known);
}

}  // namespace tw::api

const char* tw_last_error(void) { return tw::api::t_sentence; }
