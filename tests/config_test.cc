// Environment variables: what values mean, what is refused, what is warned about.
#include "lib/base/config.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "tests/fuzz/config_input.h"
#include "tilewire.h"

namespace tw {
namespace {

using fuzz::SetRow;

size_t bytes_of(const std::string& value) {
  const SetRow set("TW_COMM_MAX_MEMORY", value);
  return config::bytes("TW_COMM_MAX_MEMORY");
}

TEST(Config, Bytes) {
  EXPECT_EQ(bytes_of(""), 0u);  // the default
  EXPECT_EQ(bytes_of("64"), 64u);
  EXPECT_EQ(bytes_of("3k"), 3u << 10);
  EXPECT_EQ(bytes_of("3K"), 3u << 10);
  EXPECT_EQ(bytes_of("64M"), 64u << 20);
  EXPECT_EQ(bytes_of("2g"), size_t{2} << 30);
  EXPECT_EQ(bytes_of("1T"), size_t{1} << 40);
}

TEST(Config, BadValuesAreNamedWithTheirVariable) {
  for (const char* bad :
       {"64 ", "64KB", "K", "-1", "0x10", "99999999999999999999", "9999999T", "1.5G"})
    try {
      bytes_of(bad);
      FAIL() << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), TW_ERROR_INVALID_ARGUMENT);
      EXPECT_NE(std::string(error.what()).find("TW_COMM_MAX_MEMORY=\"" + std::string(bad)),
                std::string::npos)
          << error.what();
    }
  const SetRow set("TW_COMM_WORKERS", "two");
  EXPECT_THROW(config::integer("TW_COMM_WORKERS"), Error);
}

/// What is said of a value of a comm's settings.
std::string refusal(const tw_comm_config_t& config) {
  try {
    CommOptions::merge(config, "tw_comm_split", "comm");
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), TW_ERROR_INVALID_ARGUMENT);
    return error.what();
  }
  return "nothing";
}

TEST(Config, OutOfRangeIsSaidOfTheFieldOrTheVariable) {
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  {
    // As an int it would be 3.
    const SetRow set("TW_COMM_WORKERS", "4294967299");
    EXPECT_EQ(refusal(config), "tw_comm_split: TW_COMM_WORKERS = 4294967299; valid: 0 to 4096");
  }
  {
    const SetRow set("TW_COMM_TIMEOUT_MS", "-1");
    EXPECT_EQ(refusal(config).rfind("tw_comm_split: TW_COMM_TIMEOUT_MS = -1; valid: 0 to ", 0), 0u);
  }
  {
    const SetRow set("TW_COMM_WORKERS", "99999999999999999999");
    EXPECT_NE(refusal(config).find("TW_COMM_WORKERS=\"99999999999999999999\" is beyond 64 bits"),
              std::string::npos);
  }
  config.max_blocks = 65;
  EXPECT_EQ(refusal(config), "tw_comm_split: config.max_blocks = 65; valid: 0 to 64");
}

TEST(Config, TheStructWinsOverTheEnvironment) {
  const SetRow set("TW_COMM_TIMEOUT_MS", "1234");
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  EXPECT_EQ(CommOptions::merge(config, "tw_comm_create", "comm").timeout_ms, 1234);
  config.timeout_ms = 77;
  EXPECT_EQ(CommOptions::merge(config, "tw_comm_create", "comm").timeout_ms, 77);
}

TEST(Config, AnUnknownVariableIsWarnedAboutOnce) {
  static std::vector<std::string> lines;
  lines.clear();
  tw_log_set([](tw_log_level_t, const char* line, void*) { lines.emplace_back(line); }, nullptr,
             TW_LOG_WARN);
  setenv("TW_COMM_TIMEOUT", "5", 1);  // close to a real one
  for (int i = 0; i < 2; ++i) {
    tw_comm_t comm;
    ASSERT_EQ(tw_comm_create_all(1, nullptr, &comm), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_comm_destroy(comm), TW_OK);
  }
  unsetenv("TW_COMM_TIMEOUT");
  tw_log_set(nullptr, nullptr, TW_LOG_NONE);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_NE(lines[0].find("TW_COMM_TIMEOUT"), std::string::npos) << lines[0];
}

TEST(Config, ALogFileThatCannotBeOpenedIsAnError) {
  const SetRow set("TW_LOG_FILE", "/nonexistent/folder/log");
  tw_comm_t comm;
  EXPECT_EQ(tw_comm_create_all(1, nullptr, &comm), TW_ERROR_INVALID_ARGUMENT);
  EXPECT_NE(std::string(tw_last_error()).find("/nonexistent/folder/log"), std::string::npos)
      << tw_last_error();
}

TEST(Config, ChildrenAreNamedAfterTheirParents) {
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.name = "model";
  tw_comm_t parent, child;
  ASSERT_EQ(tw_comm_create_all(1, &config, &parent), TW_OK) << tw_last_error();
  ASSERT_EQ(tw_comm_split(parent, 3, 0, nullptr, &child), TW_OK) << tw_last_error();
  tw_window_t window;
  ASSERT_EQ(tw_window_create(child, 8, &window), TW_OK);
  EXPECT_EQ(tw_comm_destroy(child), TW_ERROR_INVALID_STATE);
  EXPECT_NE(std::string(tw_last_error()).find("\"model/3\""), std::string::npos) << tw_last_error();
  EXPECT_EQ(tw_window_destroy(window), TW_OK);
  EXPECT_EQ(tw_comm_destroy(child), TW_OK);
  EXPECT_EQ(tw_comm_destroy(parent), TW_OK);
}

TEST(Config, SeedsOfTheFuzzTargetAreAccepted) {
  int seeds = 0;
  for (const auto& entry : std::filesystem::directory_iterator("tests/fuzz/seeds/config")) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    EXPECT_TRUE(fuzz::run_config_input(bytes)) << entry.path();
    ++seeds;
  }
  EXPECT_GE(seeds, 3);
}

}  // namespace
}  // namespace tw
