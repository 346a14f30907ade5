// As planted_test, for the host's protocols: mailboxes of control calls, tw_signal, errors.
#if defined(TW_SANITIZE_THREAD)

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "lib/base/publish.h"
#include "tests/runner/races.h"
#include "tests/runner/ranks.h"
#include "tilewire.h"

namespace tw::test {
namespace {

using PlantedHost = Planted;

constexpr int kRounds = 20;

/// Control calls: every rank reads what the others said.
void windows() {
  const ThreadRanks ranks(2);
  ranks.run([](int rank, tw_comm_t comm) {
    for (int round = 0; round < kRounds; ++round) {
      tw_window_t window;
      ASSERT_EQ(tw_window_create(comm, 64 * static_cast<size_t>(rank + 1), &window), TW_OK);
      ASSERT_EQ(tw_window_destroy(window), TW_OK);
    }
  });
}

/// A put, a signal, and a read of what was put; a signal back lets the next put come.
void put_and_signal() {
  const ThreadRanks ranks(2);
  ranks.run([](int rank, tw_comm_t comm) {
    tw_window_t window;
    tw_signals_t signals;
    void* own = nullptr;
    ASSERT_EQ(tw_window_create(comm, 64, &window), TW_OK);
    ASSERT_EQ(tw_signals_create(comm, 1, &signals), TW_OK);
    ASSERT_EQ(tw_window_ptr(window, rank, &own), TW_OK);
    for (uint64_t round = 1; round <= kRounds; ++round) {
      uint64_t seen = 0;
      if (rank == 0) {
        ASSERT_EQ(tw_put(window, 1, 0, &round, sizeof round, nullptr), TW_OK);
        ASSERT_EQ(tw_signal(signals, 1, 0, nullptr), TW_OK);
        ASSERT_EQ(tw_wait_signal(signals, 1, 0, round, -1, nullptr), TW_OK);
      } else {
        ASSERT_EQ(tw_wait_signal(signals, 0, 0, round, -1, nullptr), TW_OK);
        std::memcpy(&seen, own, sizeof seen);
        EXPECT_EQ(seen, round);
        ASSERT_EQ(tw_signal(signals, 0, 0, nullptr), TW_OK);
      }
    }
    ASSERT_EQ(tw_signals_destroy(signals), TW_OK);
    ASSERT_EQ(tw_window_destroy(window), TW_OK);
  });
}

/// A rank that waits is told why the other ended the comm.
void abort() {
  for (int round = 0; round < 3; ++round) {
    const ThreadRanks ranks(2);
    ranks.run([](int rank, tw_comm_t comm) {
      if (rank == 0) {
        EXPECT_EQ(tw_comm_abort(comm), TW_OK);
      } else {
        EXPECT_EQ(tw_barrier(comm, nullptr), TW_ERROR_ABORTED);
        EXPECT_NE(std::string(tw_last_error()).find("rank 0"), std::string::npos);
      }
    });
  }
}

void planted(Published what, void (*scenario)()) {
  expect_race(
      [&] {
        planted_publication = what;
        scenario();
      },
      what != Published::kNone);
}

TEST_F(PlantedHost, NothingPlantedNothingReported) {
  planted(Published::kNone, [] {
    windows();
    put_and_signal();
    abort();
  });
}

TEST_F(PlantedHost, Mailbox) { planted(Published::kMailbox, windows); }
TEST_F(PlantedHost, Signal) { planted(Published::kSignal, put_and_signal); }
TEST_F(PlantedHost, Error) { planted(Published::kError, abort); }

}  // namespace
}  // namespace tw::test

#endif  // TW_SANITIZE_THREAD
