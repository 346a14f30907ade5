// What tests/arguments_test.cc calls: every entry point with every kind of bad argument.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tilewire.h"

namespace tw::test {

/// What the rows act on: rank 0 of two thread ranks, and handles of every bad kind.
struct World {
  tw_comm_t comm = nullptr;
  tw_comm_t dead_comm = nullptr;
  tw_window_t window = nullptr;
  tw_window_t dead_window = nullptr;
  tw_signals_t signals = nullptr;
  tw_signals_t dead_signals = nullptr;
  tw_stream_t dead_stream = nullptr;
  float a[256] = {};
  float b[256] = {};
  size_t counts[2] = {4, 4};
  size_t displs[2] = {0, 4};
  size_t bad_displs[2] = {0, 2};
  size_t huge[2] = {SIZE_MAX / 2, 4};
  char foreign[64] = {};  // memory of ours that is no handle
};

/// One bad call. `says`: texts that the sentence must have: the value, and what is valid.
struct BadCall {
  const char* name;
  tw_status_t status;
  std::vector<std::string> says;
  std::function<tw_status_t(World&)> call;
};

constexpr tw_status_t kArgument = TW_ERROR_INVALID_ARGUMENT;
constexpr tw_status_t kHandle = TW_ERROR_INVALID_HANDLE;
constexpr tw_status_t kState = TW_ERROR_INVALID_STATE;

template <class Handle>
Handle foreign(World& w) {
  return reinterpret_cast<Handle>(w.foreign);
}

inline tw_type_t type_of(int value) { return static_cast<tw_type_t>(value); }
inline tw_op_t op_of(int value) { return static_cast<tw_op_t>(value); }

/// A config with room behind it, as a program built against a newer header would pass.
struct LongConfig {
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  char tail[16] = {};
};

/// Makes a comm of one rank with a changed config, and ends it.
tw_status_t create_with(const std::function<void(LongConfig&)>& change);

/// The rows that stand by themselves. What all collectives have in common is in the test.
std::vector<BadCall> bad_calls();

}  // namespace tw::test
