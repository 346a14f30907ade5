#include "lib/api/guard.h"

#include <algorithm>
#include <cstring>

namespace tw::api {
namespace {

/// Fixed size: keeping a sentence never fails.
thread_local char t_sentence[1024] = "";

/// What a caller says a struct's size is.
size_t size_of(const void* from, size_t known, const char* name) {
  constexpr size_t kMostBytes = 4096;  // no struct of any version is longer: `size` is garbage
  size_t size;
  std::memcpy(&size, from, sizeof size);
  if (size < sizeof size)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s.size = %zu; valid: set by its initialiser macro (%zu)",
         name, size, known);
  if (size > kMostBytes)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s.size = %zu; valid: up to %zu", name, size, kMostBytes);
  return size;
}

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
  size_t size = size_of(from, known, name);
  if (size > known) {
    const unsigned char* bytes = static_cast<const unsigned char*>(from);
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

void write_versioned(void* to, size_t known, const void* from, const char* name) {
  const size_t size = size_of(to, known, name);
  char* const bytes = static_cast<char*>(to);
  std::memcpy(bytes, from, std::min(size, known));
  if (size > known) std::memset(bytes + known, 0, size - known);
  std::memcpy(bytes, &size, sizeof size);
}

void answer_text(const std::string& said, char* text, size_t bytes, size_t* needed) {
  *needed = said.size() + 1;
  if (bytes == 0) return;
  const size_t part = std::min(said.size(), bytes - 1);
  std::memcpy(text, said.data(), part);
  text[part] = '\0';
}

}  // namespace tw::api

const char* tw_last_error(void) { return tw::api::t_sentence; }
