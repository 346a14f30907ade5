#include "lib/base/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>

#include "lib/base/config.h"
#include "lib/base/error.h"
#include "lib/base/fd.h"

namespace tw::log {
namespace {

constexpr const char* kNames[] = {"none", "error", "warn", "info", "debug"};

struct Sink {
  std::mutex mutex;
  tw_log_fn fn = nullptr;
  void* user = nullptr;
  std::string path;
  Fd file;
};

Sink& sink() {
  static Sink* const instance = new Sink;  // never destroyed: threads may log during exit
  return *instance;
}

std::atomic<int> g_level{TW_LOG_NONE};

}  // namespace

bool enabled(tw_log_level_t level) { return level <= g_level.load(std::memory_order_relaxed); }

void write(tw_log_level_t level, const char* format, ...) {
  char line[1024];
  va_list args;
  va_start(args, format);
  std::vsnprintf(line, sizeof line, format, args);
  va_end(args);
  Sink& s = sink();
  const std::lock_guard<std::mutex> lock(s.mutex);
  if (s.fn != nullptr) {
    s.fn(level, line, s.user);
    return;
  }
  const std::string out =
      text("tilewire %d %s: %s\n", static_cast<int>(getpid()), kNames[level], line);
  const int fd = s.file ? s.file.get() : STDERR_FILENO;
  // A log line that cannot be written has nowhere to be reported.
  [[maybe_unused]] const ssize_t written = ::write(fd, out.data(), out.size());
}

void set(tw_log_fn fn, void* user, tw_log_level_t level) {
  if (fn == nullptr) {
    {
      const std::lock_guard<std::mutex> lock(sink().mutex);
      sink().fn = nullptr;
    }
    read_environment();
    return;
  }
  const std::lock_guard<std::mutex> lock(sink().mutex);
  sink().fn = fn;
  sink().user = user;
  g_level.store(level, std::memory_order_relaxed);
}

void read_environment() {
  const std::string name = config::string("TW_LOG");
  int level = -1;
  for (int i = 0; i < 5; ++i)
    if (name == kNames[i]) level = i;
  if (level < 0)
    fail(TW_ERROR_INVALID_ARGUMENT, "TW_LOG=\"%s\" is not one of none, error, warn, info, debug",
         name.c_str());
  const std::string path = config::string("TW_LOG_FILE");
  Sink& s = sink();
  const std::lock_guard<std::mutex> lock(s.mutex);
  if (s.fn != nullptr) return;
  if (path != s.path) {
    Fd file(path.empty() ? -1
                         : open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (!path.empty() && !file)
      fail(TW_ERROR_INVALID_ARGUMENT, "TW_LOG_FILE=\"%s\" cannot be opened for appending: %s",
           path.c_str(), strerrordesc_np(errno));
    s.file = std::move(file);
    s.path = path;
  }
  g_level.store(level, std::memory_order_relaxed);
}

}  // namespace tw::log
