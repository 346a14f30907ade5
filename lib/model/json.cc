#include "lib/model/json.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/model/name_text.h"

namespace tw {
namespace {

constexpr int kMaxDepth = 32;

/// Follows the parser and throws at what is out of bounds.
class Watch {
 public:
  Watch(const std::string& path, size_t max_values) : path_(path), max_values_(max_values) {}

  bool operator()(int depth, Json::parse_event_t event, const Json& parsed) {
    if (++values_ > max_values_)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: more than %zu values", path_.c_str(), max_values_);
    const bool opens =
        event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start;
    if (opens && depth >= kMaxDepth)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: nested deeper than %d", path_.c_str(), kMaxDepth);
    if (event == Json::parse_event_t::object_start) keys_.emplace_back();
    if (event == Json::parse_event_t::key)
      keys_.back().push_back(parsed.get_ref<const std::string&>());
    if (event == Json::parse_event_t::object_end) {
      // The parser keeps the last of equal keys.
      if (parsed.size() != keys_.back().size()) refuse_twice();
      keys_.pop_back();
    }
    return true;
  }

 private:
  [[noreturn]] void refuse_twice() {
    std::vector<std::string>& keys = keys_.back();
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: key %s stands twice in an object", path_.c_str(),
         twice == keys.end() ? "" : name_text(*twice).c_str());
  }

  const std::string& path_;
  size_t max_values_;
  size_t values_ = 0;
  std::vector<std::vector<std::string>> keys_;  // of the objects that are open
};

}  // namespace

Json parse_json(std::string_view text, size_t max_bytes, const std::string& path,
                size_t max_values) {
  if (text.size() > max_bytes)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %zu bytes of JSON; valid: up to %zu", path.c_str(),
         text.size(), max_bytes);
  Watch watch(path, max_values);
  Json json;
  try {
    json = Json::parse(text, [&watch](int depth, Json::parse_event_t event, const Json& parsed) {
      return watch(depth, event, parsed);
    });
  } catch (const Json::exception& error) {
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: not JSON: %s", path.c_str(),
         name_text(error.what()).c_str());
  }
  if (!json.is_object()) fail(TW_ERROR_INVALID_ARGUMENT, "%s: not a JSON object", path.c_str());
  return json;
}

const Json* JsonObject::find(const char* key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<int64_t> JsonObject::integer(const char* key) const {
  const Json* const value = find(key);
  if (value == nullptr) return {};
  if (!value->is_number_integer() ||
      (value->is_number_unsigned() &&
       value->get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()}))
    refuse(key, "expected an integer below 2^63");
  return value->get<int64_t>();
}

std::optional<double> JsonObject::number(const char* key) const {
  const Json* const value = find(key);
  if (value == nullptr) return {};
  if (!value->is_number()) refuse(key, "expected a number");
  return value->get<double>();
}

std::optional<bool> JsonObject::flag(const char* key) const {
  const Json* const value = find(key);
  if (value == nullptr) return {};
  if (!value->is_boolean()) refuse(key, "expected true or false");
  return value->get<bool>();
}

std::optional<std::string> JsonObject::text(const char* key) const {
  const Json* const value = find(key);
  if (value == nullptr) return {};
  if (!value->is_string()) refuse(key, "expected text");
  return value->get<std::string>();
}

void JsonObject::refuse(const char* key, const char* expected, tw_status_t status) const {
  const Json* const value = find(key);
  // Not of a large value: its text would be as large.
  const bool small = value != nullptr && (value->is_primitive() || value->size() <= 4);
  const std::string shown =
      small ? value->dump(-1, ' ', true, Json::error_handler_t::replace) : "something else";
  fail(status, "%s: key \"%s%s\" is %s; %s", path_.c_str(), prefix_.c_str(), key,
       shown.size() <= 200 ? shown.c_str() : (shown.substr(0, 200) + "...").c_str(), expected);
}

void JsonObject::missing(const char* key) const {
  fail(TW_ERROR_INVALID_ARGUMENT, "%s: key \"%s%s\" is missing", path_.c_str(), prefix_.c_str(),
       key);
}

}  // namespace tw
