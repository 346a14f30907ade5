// What the fuzz target of the configuration does with one input. A unit test runs the seeds through
// it. The first byte chooses a row of config.def, the rest is its value.
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

#include "lib/base/config.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/coll/choice.h"
#include "lib/comm/comm.h"

namespace tw::fuzz {

/// A row's variable, set while the object lives.
class SetRow {
 public:
  SetRow(const char* name, const std::string& value) : name_(name) {
    setenv(name, value.c_str(), 1);
  }
  SetRow(const SetRow&) = delete;
  SetRow& operator=(const SetRow&) = delete;
  ~SetRow() { unsetenv(name_); }

 private:
  const char* name_;
};

/// True when the value was taken.
inline bool run_config_input(std::string_view input) {
  if (input.empty()) return false;
  const auto& rows = config::rows();
  const config::Row& row = rows[static_cast<unsigned char>(input[0]) % rows.size()];
  const std::string value(input.substr(1));
  if (std::string_view(row.name) == "TW_LOG_FILE") return false;  // names a file to write to
  const SetRow set(row.name, value);
  try {
    switch (row.type) {
      case config::Type::kInt:
        config::integer(row.name);
        break;
      case config::Type::kBytes:
        // A plain number is itself, whatever stands behind it was understood.
        if (value.find_first_not_of("0123456789") == std::string::npos && !value.empty() &&
            config::bytes(row.name) != std::strtoull(value.c_str(), nullptr, 10))
          std::abort();
        config::bytes(row.name);
        break;
      case config::Type::kText:
        config::string(row.name);
        break;
    }
    CommOptions::merge(TW_COMM_CONFIG_INIT, "tw_comm_create", "comm");
    Forced::from_environment();
    log::read_environment();
  } catch (const Error& error) {
    if (*error.what() == '\0') std::abort();  // refused without a word
    return false;
  }
  return true;
}

}  // namespace tw::fuzz
