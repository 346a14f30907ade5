// Programs (tw_program_*) whose ranks are processes: the bits of the calls, in every launch; when a
// rank dies in the middle of its work the others learn of it in time, and a program on what is left
// of the comm goes on.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "tests/runner/mortal_ranks.h"
#include "tests/runner/processes.h"
#include "tests/support/program_block.h"

namespace tw::test {
namespace {

constexpr int kRanks = 3, kVictim = 1;

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

struct Shared {
  std::atomic<int64_t> died;
  int64_t noticed[kRanks];
  char complaint[kRanks][512];
};

[[noreturn]] void complain(Shared& shared, int rank, const std::string& what) {
  std::snprintf(shared.complaint[rank], sizeof shared.complaint[rank], "%s: %s", what.c_str(),
                tw_last_error());
  _exit(1);
}

/// Launches until one fails; the victim dies after some.
void launch_until_it_fails(Shared& shared, int rank, tw_comm_t comm) {
  ProgramBlockRank part(comm, kCases[1]);
  part.fill(1);
  tw_status_t status = TW_OK;
  for (int i = 0; status == TW_OK && i < 100000; ++i) {
    if (rank == kVictim && i == 20) {
      shared.died.store(now_us());
      raise(SIGKILL);
    }
    status = tw_program_launch(part.program(), kCases[1].rows, nullptr);
  }
  shared.noticed[rank] = now_us();
  if (status != TW_ERROR_PEER_LOST) complain(shared, rank, "no PEER_LOST");
  if (std::strstr(tw_last_error(), "rank 1") == nullptr) complain(shared, rank, "no name");
}

void run_rank(Shared& shared, const Root& root, int rank) {
  tw_comm_t comm = nullptr, rest = nullptr;
  if (tw_comm_create(kRanks, rank, &root.id(), nullptr, &comm) != TW_OK)
    complain(shared, rank, "create");
  launch_until_it_fails(shared, rank, comm);
  if (tw_comm_shrink(comm, nullptr, &rest) != TW_OK) complain(shared, rank, "shrink");
  for (const BlockCase& c : kCases) {
    const std::string what = wrong(rest, c);
    if (!what.empty()) complain(shared, rank, what);
  }
  if (tw_comm_destroy(rest) != TW_OK || tw_comm_destroy(comm) != TW_OK)
    complain(shared, rank, "destroy");
  _exit(0);
}

TEST(ProgramProcess, ADeadRankEndsTheLaunchAndANewProgramGoesOn) {
  const InSharedMemory<Shared> shared;
  const Root root;
  run_mortal_ranks(
      kRanks, kVictim, [&](int rank) { run_rank(*shared, root, rank); },
      [&](int rank) { return shared->complaint[rank]; });
  for (const int rank : {0, 2})
    EXPECT_LT(shared->noticed[rank] - shared->died.load(), 1000000) << "rank " << rank;
}

}  // namespace
}  // namespace tw::test
