// Communicators and windows: ranks as threads.
#include <gtest/gtest.h>

#include <cstring>

#include "tests/runner/pass_around.h"
#include "tests/runner/ranks.h"
#include "tilewire.h"

namespace {

using tw::test::pass_around;
using tw::test::ThreadRanks;

#define TW_EXPECT_OK(call) EXPECT_EQ(call, TW_OK) << tw_last_error()

TEST(Comm, ThreadsPassDataThroughWindows) {
  for (const int n : {1, 2, 4}) {
    const ThreadRanks ranks(n);
    ranks.run([](int rank, tw_comm_t comm) { EXPECT_EQ(pass_around(rank, comm), 0); });
  }
}

TEST(Comm, SplitMakesRowsAndUsesNoParentState) {
  const ThreadRanks ranks(6);
  ranks.run([](int rank, tw_comm_t comm) {
    tw_comm_t child;
    TW_EXPECT_OK(tw_comm_split(comm, rank % 2 == 0 ? rank / 4 : -1, -rank, nullptr, &child));
    if (rank % 2 != 0) {
      EXPECT_EQ(child, nullptr);
      return;
    }
    int size, child_rank;
    TW_EXPECT_OK(tw_comm_size(child, &size));
    TW_EXPECT_OK(tw_comm_rank(child, &child_rank));
    EXPECT_EQ(size, rank < 4 ? 2 : 1);         // ranks 0 and 2; rank 4
    EXPECT_EQ(child_rank, rank == 0 ? 1 : 0);  // the key turns them around
    EXPECT_EQ(pass_around(child_rank, child), 0);
    EXPECT_EQ(tw_comm_destroy(comm), TW_ERROR_INVALID_STATE);
    TW_EXPECT_OK(tw_comm_destroy(child));
  });
}

TEST(Comm, WindowsOfDifferentSizesAreZeroedAgain) {
  const ThreadRanks ranks(3);
  ranks.run([](int rank, tw_comm_t comm) {
    for (const size_t bytes : {size_t{0}, size_t{100}, size_t{70000}, size_t{20} << 20}) {
      for (int round = 0; round < 3; ++round) {
        tw_window_t window;
        const size_t mine = bytes * static_cast<size_t>(rank + 1);
        TW_EXPECT_OK(tw_window_create(comm, mine, &window));
        void* ptr;
        TW_EXPECT_OK(tw_window_ptr(window, rank, &ptr));
        const char* at = static_cast<const char*>(ptr);
        for (size_t i = 0; i < mine; i += 37) ASSERT_EQ(at[i], 0) << i;
        std::memset(ptr, 0x5a, mine);
        TW_EXPECT_OK(tw_window_destroy(window));
      }
    }
  });
}

}  // namespace
