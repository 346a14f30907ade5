#include "lib/base/error.h"

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <new>
#include <system_error>

namespace tw {
namespace {

std::string vtext(const char* format, va_list args) {
  va_list again;
  va_copy(again, args);
  const int length = std::vsnprintf(nullptr, 0, format, args);
  std::string result(length > 0 ? static_cast<size_t>(length) : 0, '\0');
  if (length > 0) std::vsnprintf(result.data(), result.size() + 1, format, again);
  va_end(again);
  return result;
}

}  // namespace

Error current_error() {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return {TW_ERROR_OUT_OF_MEMORY, "out of memory"};
  } catch (const std::exception& error) {
    return {TW_ERROR_INTERNAL, error.what()};
  } catch (...) {
    return {TW_ERROR_INTERNAL, "an unknown exception"};
  }
}

std::string text(const char* format, ...) {
  va_list args;
  va_start(args, format);
  std::string result = vtext(format, args);
  va_end(args);
  return result;
}

void fail(tw_status_t status, const char* format, ...) {
  va_list args;
  va_start(args, format);
  std::string sentence = vtext(format, args);
  va_end(args);
  throw Error(status, std::move(sentence));
}

void fail_errno(const char* what, int error) {
  tw_status_t status = TW_ERROR_SYSTEM;
  if (error == ENOMEM) status = TW_ERROR_OUT_OF_MEMORY;
  if (error == EMFILE || error == ENFILE || error == EAGAIN) status = TW_ERROR_OUT_OF_RESOURCES;
  fail(status, "%s failed: %s", what, std::generic_category().message(error).c_str());
}

}  // namespace tw
