// tw_describe: every section says what it must, cuts where it must, and shows no secret.
#include <gtest/gtest.h>
#include <signal.h>

#include <cstring>
#include <string>
#include <vector>

#include "lib/base/config.h"
#include "lib/device/device.h"
#include "tests/runner/ranks.h"
#include "tilewire.h"

namespace {

using tw::test::ScopedEnv;

std::string described(tw_describe_what_t what) {
  size_t needed = 0;
  EXPECT_EQ(tw_describe(what, nullptr, 0, &needed), TW_OK) << tw_last_error();
  std::vector<char> text(needed, 'x');
  EXPECT_EQ(tw_describe(what, text.data(), text.size(), &needed), TW_OK) << tw_last_error();
  EXPECT_EQ(needed, text.size());
  EXPECT_EQ(text.back(), '\0');
  return text.data();
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Describe, VersionNamesTheBuildsTargets) {
  const std::string text = described(TW_DESCRIBE_VERSION);
  EXPECT_TRUE(has(text, "0.1.0")) << text;
  EXPECT_TRUE(has(text, "cpu_portable")) << text;
}

TEST(Describe, TargetsNameTheChosenOne) {
  const std::string chosen = tw::cpu_target_name(tw::cpu_target());
  EXPECT_TRUE(has(described(TW_DESCRIBE_TARGETS), "chosen          " + chosen));
  const ScopedEnv forced("TW_DEVICE_TARGET", "cpu_portable");
  EXPECT_TRUE(has(described(TW_DESCRIBE_TARGETS), "chosen          cpu_portable"));
}

TEST(Describe, TargetsSayWhyNoneIsChosen) {
  const ScopedEnv forced("TW_DEVICE_TARGET", "cpu_abacus");
  const std::string text = described(TW_DESCRIBE_TARGETS);
  EXPECT_TRUE(has(text, "none: TW_DEVICE_TARGET=\"cpu_abacus\"; valid: auto")) << text;
}

TEST(Describe, TopologyCountsCores) {
  const std::string text = described(TW_DESCRIBE_TOPOLOGY);
  EXPECT_TRUE(has(text, "core(s)")) << text;
  EXPECT_TRUE(has(text, "numa 0")) << text;
}

TEST(Describe, EnvironmentHasEveryRow) {
  const ScopedEnv set("TW_COMM_TIMEOUT_MS", "1234");
  const std::string text = described(TW_DESCRIBE_ENVIRONMENT);
  for (const tw::config::Row& row : tw::config::rows()) {
    EXPECT_TRUE(has(text, row.name)) << row.name;
    EXPECT_TRUE(has(text, row.help)) << row.name;
  }
  EXPECT_TRUE(has(text, "1234")) << text;
}

TEST(Describe, EnvironmentHidesTheSecret) {
  const ScopedEnv set("TW_UNIQUE_ID", "c0ffee");
  EXPECT_FALSE(has(described(TW_DESCRIBE_ENVIRONMENT), "c0ffee"));
}

TEST(Describe, ChoicesNameTheMachine) {
  const ScopedEnv forced("TW_COLL_ALGO", "pull");
  const std::string text = described(TW_DESCRIBE_CHOICES);
  EXPECT_TRUE(has(text, "all_reduce")) << text;
  EXPECT_TRUE(has(text, "TW_COLL_ALGO=pull")) << text;
  EXPECT_TRUE(has(text, "generic")) << text;
}

TEST(Describe, LibrariesAreFoundOrNotWithAReason) {
  struct sigaction before[NSIG], after;
  for (int s = 1; s < NSIG; ++s) sigaction(s, nullptr, &before[s]);
  const std::string text = described(TW_DESCRIBE_LIBRARIES);
  for (const char* name : {"cuda ", "nccl ", "ucx "}) EXPECT_TRUE(has(text, name)) << text;
  for (int s = 1; s < NSIG; ++s)
    if (sigaction(s, nullptr, &after) == 0) {
      EXPECT_EQ(after.sa_handler, before[s].sa_handler) << "signal " << s;
    }
}

TEST(Describe, CutsWhatDoesNotFit) {
  char text[8];
  std::memset(text, 'x', sizeof text);
  size_t needed = 0;
  ASSERT_EQ(tw_describe(TW_DESCRIBE_VERSION, text, 5, &needed), TW_OK);
  EXPECT_STREQ(text, "tile");
  EXPECT_EQ(text[5], 'x');
  EXPECT_GT(needed, 5u);
}

TEST(Describe, BadArguments) {
  char text[8];
  size_t needed;
  EXPECT_EQ(tw_describe(static_cast<tw_describe_what_t>(6), text, 8, &needed),
            TW_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(has(tw_last_error(), "what = 6; valid: 0 to 5")) << tw_last_error();
  EXPECT_EQ(tw_describe(TW_DESCRIBE_VERSION, nullptr, 8, &needed), TW_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(tw_describe(TW_DESCRIBE_VERSION, text, 8, nullptr), TW_ERROR_INVALID_ARGUMENT);
}

}  // namespace
