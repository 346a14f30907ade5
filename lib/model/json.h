// JSON from files, within bounds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "tilewire.h"

namespace tw {

using Json = nlohmann::json;

constexpr size_t kMaxConfigBytes = size_t{1} << 20;
constexpr size_t kMaxTokenizerBytes = size_t{64} << 20;
constexpr size_t kMaxJsonValues = size_t{1} << 22;

/// `text`, an object, parsed. Throws INVALID_ARGUMENT beginning with `path` when it is none, is
/// longer than `max_bytes`, nests deeper than 32, has more than `max_values`, or an object of it
/// has a key twice.
Json parse_json(std::string_view text, size_t max_bytes, const std::string& path,
                size_t max_values = kMaxJsonValues);

/// Typed reads of an object's members. Nothing when there is no such key or it is null; a value of
/// another kind throws INVALID_ARGUMENT naming `path`, key and value.
class JsonObject {
 public:
  /// Keeps references: both must outlive it. `object` may be anything; what is no object has no
  /// keys.
  JsonObject(const Json& object, const std::string& path, std::string prefix = "")
      : object_(object), path_(path), prefix_(std::move(prefix)) {}

  const Json* find(const char* key) const;
  std::optional<int64_t> integer(const char* key) const;
  std::optional<double> number(const char* key) const;
  std::optional<bool> flag(const char* key) const;
  std::optional<std::string> text(const char* key) const;

  /// Throws `status`: "<path>: key "<prefix><key>" is <value>; <expected>".
  [[noreturn]] void refuse(const char* key, const char* expected,
                           tw_status_t status = TW_ERROR_INVALID_ARGUMENT) const;
  /// Throws: there is no such key.
  [[noreturn]] void missing(const char* key) const;

 private:
  const Json& object_;
  const std::string& path_;
  std::string prefix_;
};

}  // namespace tw
