// What fuzz targets of files share with the unit tests that run their seeds.
#pragma once

#include <cstdlib>

#include "lib/base/error.h"

namespace tw::fuzz {

/// True when `call` throws an Error, which has to say something.
template <class Call>
bool refused(Call call) {
  try {
    call();
  } catch (const Error& error) {
    if (*error.what() == '\0' || error.status() == TW_ERROR_INTERNAL) std::abort();
    return true;
  }
  return false;
}

}  // namespace tw::fuzz
