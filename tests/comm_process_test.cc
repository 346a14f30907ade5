// Communicators and windows of processes.
#include <gtest/gtest.h>

#include "tests/runner/pass_around.h"
#include "tests/runner/processes.h"
#include "tilewire.h"

namespace {

using tw::test::pass_around;
using tw::test::run_processes;

TEST(CommProcess, ProcessesPassDataThroughWindows) {
  for (const int n : {1, 2, 5}) run_processes(n, pass_around);
}

TEST(CommProcess, RegisteredMemoryIsReachedByPeers) {
  run_processes(3, [](int rank, tw_comm_t comm) {
    void* memory;
    if (tw_mem_alloc(1 << 20, nullptr, &memory) != TW_OK) return 1;
    int* const mine = static_cast<int*>(memory) + 100 * rank;  // ranks register different places
    tw_window_t window;
    for (int round = 0; round < 2; ++round) {
      if (tw_window_register(comm, mine, 4000, &window) != TW_OK) {
        std::fprintf(stderr, "%s\n", tw_last_error());
        return 2;
      }
      for (int peer = 0; peer < 3; ++peer) {
        const int value = 100 * rank + round;
        if (tw_put(window, peer, 4 * static_cast<size_t>(rank), &value, 4, nullptr) != TW_OK)
          return 3;
      }
      tw_signals_t signals;  // as a barrier
      if (tw_signals_create(comm, 1, &signals) != TW_OK) return 4;
      for (int sender = 0; sender < 3; ++sender)
        if (mine[sender] != 100 * sender + round) return 5;
      if (tw_signals_destroy(signals) != TW_OK) return 6;
      if (tw_window_destroy(window) != TW_OK) return 7;
    }
    return tw_mem_free(memory) == TW_OK ? 0 : 8;
  });
}

}  // namespace
