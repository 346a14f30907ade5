// Environment variables, one row each (config.def). Values are read from the environment at each
// call, so that a comm sees what is set when it is made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tw::config {

enum class Type { kInt, kBytes, kText };

struct Row {
  const char* name;
  Type type;
  const char* default_value;
  const char* help;
};

/// All rows, in config.def's order.
const std::vector<Row>& rows();

/// Value of `name` (a row), its default when unset or empty. Throws INVALID_ARGUMENT naming
/// variable and value when it does not parse.
int64_t integer(const char* name);
size_t bytes(const char* name);
std::string string(const char* name);

/// The number of the variable's value in `names`, -1 for "auto". Throws INVALID_ARGUMENT naming the
/// valid ones.
int choice(const char* name, const char* const* names, size_t count);

/// True when the variable is set to a non-empty value.
bool is_set(const char* name);

/// Every row with its value, default and help, for people. Secrets are not shown.
std::string describe();

/// Logs a warning, once per process and variable, for each TW_* variable that is not a row.
void warn_unknown();

}  // namespace tw::config
