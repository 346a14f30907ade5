// Log lines: silent by default; TW_LOG, TW_LOG_FILE or tw_log_set say otherwise.
#pragma once

#include "tilewire.h"

namespace tw::log {

/// True when messages of `level` go anywhere.
bool enabled(tw_log_level_t level);

/// Writes one line. Use TW_LOGF, which formats only when enabled.
[[gnu::format(printf, 2, 3)]] void write(tw_log_level_t level, const char* format, ...);

/// Sends lines up to `level` to `fn`; null `fn`: back to the environment's setting.
void set(tw_log_fn fn, void* user, tw_log_level_t level);

/// Reads TW_LOG and TW_LOG_FILE again. Throws INVALID_ARGUMENT for an unknown level.
void read_environment();

}  // namespace tw::log

#define TW_LOGF(level, ...)                                              \
  do {                                                                   \
    if (::tw::log::enabled(level)) ::tw::log::write(level, __VA_ARGS__); \
  } while (0)
