// Scenarios in which ThreadSanitizer must, or must not, report a race. In its build only.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>

namespace tw::test {

inline constexpr int kRaceReported = 66;  // ThreadSanitizer's exit code

/// Runs the scenario in a process of its own, since a report cannot be taken back.
template <class Scenario>
void expect_race(Scenario scenario, bool race) {
  const auto run = [&] {
    scenario();
    std::exit(0);  // NOLINT(concurrency-mt-unsafe): the ranks' threads are joined
  };
  if (race) {
    EXPECT_EXIT(run(), ::testing::ExitedWithCode(kRaceReported), "data race");
  } else {
    EXPECT_EXIT(run(), ::testing::ExitedWithCode(0), "");
  }
}

class Planted : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

}  // namespace tw::test
