// Programs (tw_program_*) whose ranks are processes: the bits of the calls, in every launch; when a
// rank dies in the middle of its work the others learn of it in time, and a program on what is left
// of the comm goes on.
#include <gtest/gtest.h>

#include <cstdio>
#include <functional>
#include <string>

#include "tests/runner/mortal_ranks.h"
#include "tests/runner/processes.h"
#include "tests/support/program_block.h"

namespace tw::test {
namespace {

constexpr int kRanks = 3;

const BlockCase kCases[] = {
    {5, 33, 40, TW_BF16, TW_BF16, Places::kWindow},
    {70, 40, 50, TW_FP32, TW_BF16, Places::kProgram},  // rows have owners
    {9, 64, 2, TW_FP32, TW_FP32, Places::kMixed},      // of 3 ranks, one has no column
};

/// What is wrong with launches of a program of its own on `comm`; empty: nothing.
std::string wrong(tw_comm_t comm, const BlockCase& c) {
  ProgramBlockRank part(comm, c);
  for (const uint32_t rows : {c.rows, uint32_t{1}, c.rows}) {
    part.fill(rows);
    if (tw_program_launch(part.program(), rows, nullptr) != TW_OK) return tw_last_error();
    const std::string other = part.other_bits(rows);
    if (!other.empty()) return name_of(c) + ": " + other + " have other bits than the calls";
  }
  return testing::Test::HasFailure() ? name_of(c) : "";
}

TEST(ProgramProcess, HasTheBitsOfTheCalls) {
  for (const int n : {2, kRanks})
    run_processes(n, [](int rank, tw_comm_t comm) {
      for (const BlockCase& c : kCases) {
        const std::string what = wrong(comm, c);
        if (what.empty()) continue;
        std::fprintf(stderr, "rank %d: %s\n", rank, what.c_str());
        return 1;
      }
      return 0;
    });
}

TEST(ProgramProcess, ADeadRankEndsTheLaunchAndANewProgramGoesOn) {
  MortalWork work;
  work.until_it_fails = [](tw_comm_t comm, int /*rank*/, const std::function<void()>& die) {
    ProgramBlockRank part(comm, kCases[1]);
    part.fill(1);
    for (int i = 0; i < 100000; ++i) {
      if (i == 20) die();
      const tw_status_t status = tw_program_launch(part.program(), kCases[1].rows, nullptr);
      if (status != TW_OK) return Ended{status, tw_last_error()};
    }
    return Ended{};
  };
  work.go_on = [](tw_comm_t rest, int /*rank*/) {
    std::string what;
    for (const BlockCase& c : kCases)
      if (what.empty()) what = wrong(rest, c);
    return what;
  };
  run_mortal_ranks(kRanks, /*victim=*/1, work);
}

}  // namespace
}  // namespace tw::test
