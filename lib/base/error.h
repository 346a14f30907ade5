// Errors of set-up code. Whoever decides that something is an error throws it, once, with the
// offending value and what would be valid; lib/api's guard() turns it into a status.
#pragma once

#include <exception>
#include <string>

#include "tilewire.h"

namespace tw {

class Error : public std::exception {
 public:
  Error(tw_status_t status, std::string sentence)
      : status_(status), sentence_(std::move(sentence)) {}
  tw_status_t status() const { return status_; }
  const char* what() const noexcept override { return sentence_.c_str(); }

 private:
  tw_status_t status_;
  std::string sentence_;
};

/// The exception being handled, whatever it is, as an Error. Call in a catch block.
Error current_error();

/// printf into a string.
[[gnu::format(printf, 1, 2)]] std::string text(const char* format, ...);

/// Throws Error with a printf sentence.
[[noreturn, gnu::format(printf, 2, 3)]] void fail(tw_status_t status, const char* format, ...);

/// Throws Error for the failed system call `what` with errno `error`: OUT_OF_MEMORY for ENOMEM,
/// OUT_OF_RESOURCES for EMFILE, ENFILE and EAGAIN, else SYSTEM.
[[noreturn]] void fail_errno(const char* what, int error);

}  // namespace tw
