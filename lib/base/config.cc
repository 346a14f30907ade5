#include "lib/base/config.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>
#include <string_view>

#include "lib/base/error.h"
#include "lib/base/log.h"

extern char** environ;

namespace tw::config {
namespace {

const Row& row(const char* name) {
  for (const Row& r : rows())
    if (std::strcmp(r.name, name) == 0) return r;
  fail(TW_ERROR_INTERNAL, "no configuration row %s", name);
}

const char* value(const Row& r) {
  const char* set = std::getenv(r.name);
  return set != nullptr && *set != '\0' ? set : r.default_value;
}

int64_t parse(const Row& r, bool suffix) {
  const char* begin = value(r);
  char* end = nullptr;
  errno = 0;
  int64_t result = std::strtoll(begin, &end, 10);
  if (errno == ERANGE)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s=\"%s\" is beyond 64 bits (%s)", r.name, begin, r.help);
  bool good = end != begin;
  if (good && suffix && *end != '\0') {
    const std::string_view units = "KkMmGgTt";
    const size_t unit = units.find(*end);
    const int shift = 10 * (1 + static_cast<int>(unit / 2));
    good = unit != std::string_view::npos && result >= 0 && result <= (INT64_MAX >> shift);
    if (good) {
      result <<= shift;
      ++end;
    }
  }
  if (!good || *end != '\0' || (suffix && result < 0))
    fail(TW_ERROR_INVALID_ARGUMENT, "%s=\"%s\" is not %s (%s)", r.name, begin,
         suffix ? "a number of bytes such as 64M" : "an integer", r.help);
  return result;
}

}  // namespace

const std::vector<Row>& rows() {
  static const std::vector<Row> all = {
#define TW_CONFIG_ROW(name, type, default_value, help) {#name, Type::type, default_value, help},
#include "lib/base/config.def"
#undef TW_CONFIG_ROW
  };
  return all;
}

int64_t integer(const char* name) { return parse(row(name), false); }
size_t bytes(const char* name) { return static_cast<size_t>(parse(row(name), true)); }
std::string string(const char* name) { return value(row(name)); }

int choice(const char* name, const char* const* names, size_t count) {
  const std::string value = string(name);
  if (value == "auto") return -1;
  std::string valid = "auto";
  for (size_t i = 0; i < count; ++i) {
    if (value == names[i]) return static_cast<int>(i);
    valid += std::string(", ") + names[i];
  }
  fail(TW_ERROR_INVALID_ARGUMENT, "%s=\"%s\" is not one of %s", name, value.c_str(), valid.c_str());
}

bool is_set(const char* name) {
  const char* set = std::getenv(row(name).name);
  return set != nullptr && *set != '\0';
}

std::string describe() {
  std::string out;
  for (const Row& r : rows()) {
    const bool set = is_set(r.name);
    const bool secret = std::strcmp(r.name, "TW_UNIQUE_ID") == 0;
    const char* const shown = secret && set ? "(not shown: it holds a secret)" : value(r);
    out += text("%-26s %-9s%s %s", r.name, *shown == '\0' ? "(empty)" : shown, set ? "  [set]" : "",
                r.help);
    if (set && *r.default_value != '\0') out += text("; default %s", r.default_value);
    out += '\n';
  }
  return out;
}

void warn_unknown() {
  static std::mutex mutex;
  static std::set<std::string> warned;
  const std::lock_guard<std::mutex> lock(mutex);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (std::strncmp(*entry, "TW_", 3) != 0) continue;
    const std::string name(*entry, std::strcspn(*entry, "="));
    const bool known =
        std::any_of(rows().begin(), rows().end(), [&](const Row& r) { return name == r.name; });
    if (!known && warned.insert(name).second)
      TW_LOGF(TW_LOG_WARN, "unknown environment variable %s: see tw_info", name.c_str());
  }
}

}  // namespace tw::config
