// A small program of every rank, for tests of comms: data and signals through windows.
#pragma once

#include <cstdio>
#include <vector>

#include "tilewire.h"

namespace tw::test {

/// Every rank writes into its right neighbour's window and signals; three rounds.
inline int pass_around(int rank, tw_comm_t comm) {
  int size;
  tw_comm_size(comm, &size);
  tw_window_t window;
  tw_signals_t signals;
  if (tw_window_create(comm, 1 << 20, &window) != TW_OK) return 1;
  if (tw_signals_create(comm, 2, &signals) != TW_OK) return 2;
  const int right = (rank + 1) % size, left = (rank + size - 1) % size;
  std::vector<int> out(1000), in(1000);
  int result = 0;
  for (int round = 1; round <= 3; ++round) {
    for (int i = 0; i < 1000; ++i) out[i] = 1000000 * round + 1000 * rank + i;
    if (tw_put(window, right, 4096, out.data(), 4000, nullptr) != TW_OK) result = 3;
    if (tw_signal(signals, right, 0, nullptr) != TW_OK) result = 4;
    if (tw_wait_signal(signals, left, 0, round, -1, nullptr) != TW_OK) result = 5;
    if (tw_get(in.data(), window, rank, 4096, 4000, nullptr) != TW_OK) result = 6;
    for (int i = 0; i < 1000; ++i)
      if (in[i] != 1000000 * round + 1000 * left + i) result = 7;
    // The neighbour may write again once we have read.
    if (tw_signal(signals, left, 1, nullptr) != TW_OK) result = 8;
    if (tw_wait_signal(signals, right, 1, round, -1, nullptr) != TW_OK) result = 9;
  }
  if (result != 0) std::fprintf(stderr, "rank %d: %d: %s\n", rank, result, tw_last_error());
  if (tw_signals_destroy(signals) != TW_OK) return 10;
  if (tw_window_destroy(window) != TW_OK) return 11;
  return result;
}

}  // namespace tw::test
