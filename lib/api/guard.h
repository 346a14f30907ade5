// The one place where C++ errors become a status and this thread's sentence.
#pragma once

#include <new>
#include <string>

#include "lib/base/error.h"
#include "lib/base/fork.h"
#include "tilewire.h"

namespace tw::api {

/// Keeps the sentence for tw_last_error and returns `status`.
tw_status_t report(tw_status_t status, const char* sentence) noexcept;

/// Turns the exception being handled into a status. Call in a catch block.
tw_status_t report_current() noexcept;

/// Runs an entry point's body: it throws, or returns nothing (TW_OK) or a status that has been
/// reported.
template <class Body>
tw_status_t guard(Body&& body) noexcept {
  try {
    if (forked())
      fail(TW_ERROR_INVALID_STATE,
           "tilewire cannot be used in a forked child: start a new process (exec) instead");
    if constexpr (std::is_void_v<decltype(body())>) {
      body();
      return TW_OK;
    } else {
      return body();
    }
  } catch (...) {
    return report_current();
  }
}

/// Throws INVALID_ARGUMENT when an output or required input is NULL.
inline void require(const void* pointer, const char* function, const char* name) {
  if (pointer == nullptr)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s is NULL; valid: a pointer to it", function, name);
}

/// Throws INVALID_ARGUMENT unless least <= value <= most.
inline void require_range(int64_t value, int64_t least, int64_t most, const char* function,
                          const char* name) {
  if (value < least || value > most)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s = %lld; valid: %lld to %lld", function, name,
         static_cast<long long>(value), static_cast<long long>(least),
         static_cast<long long>(most));
}

/// Copies a caller's versioned struct over `defaults`: a shorter one leaves the rest at default; a
/// longer one must be zero beyond what this library knows.
void copy_versioned(void* to, size_t known, const void* from, const char* name);

template <class Struct>
Struct versioned(const Struct* from, const Struct& defaults, const char* name) {
  Struct result = defaults;
  if (from != nullptr) copy_versioned(&result, sizeof result, from, name);
  return result;
}

/// Writes a struct that a caller made by its initialiser macro: as much of it as the caller knows;
/// what only the caller knows becomes zero.
void write_versioned(void* to, size_t known, const void* from, const char* name);

template <class Struct>
void answer(Struct* to, const Struct& value, const char* name) {
  write_versioned(to, sizeof value, &value, name);
}

/// Writes `said` into `text` (room for `bytes`), NUL-terminated and cut where it does not fit, and
/// the bytes that the whole needs, NUL included, to *needed.
void answer_text(const std::string& said, char* text, size_t bytes, size_t* needed);

}  // namespace tw::api
