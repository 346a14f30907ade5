// Communicators and windows: ranks as threads.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <string>
#include <thread>

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

TEST(Comm, ChildrenUseTheParentsWindowsByTheirOwnRanks) {
  const ThreadRanks ranks(5);
  ranks.run([](int rank, tw_comm_t comm) {
    tw_window_t window, registered;
    TW_EXPECT_OK(tw_window_create(comm, 4096, &window));
    void* memory;
    TW_EXPECT_OK(tw_mem_alloc(4096, nullptr, &memory));
    TW_EXPECT_OK(tw_window_register(comm, memory, 4096, &registered));
    tw_comm_t child;
    TW_EXPECT_OK(tw_comm_split(comm, rank % 2, -rank, nullptr, &child));
    int size, mine;
    TW_EXPECT_OK(tw_comm_size(child, &size));
    TW_EXPECT_OK(tw_comm_rank(child, &mine));
    for (const tw_window_t of_parent : {window, registered}) {
      tw_window_t shared;
      TW_EXPECT_OK(tw_window_share(of_parent, child, &shared));
      EXPECT_EQ(tw_window_destroy(of_parent), TW_ERROR_INVALID_STATE);
      // Own rank r of the child is the r-th last of the parent's ranks of this color.
      const int next = (mine + 1) % size;
      const int last = rank % 2 == 0 ? 4 : 3;
      void *by_parent, *by_child;
      TW_EXPECT_OK(tw_window_ptr(of_parent, last - 2 * next, &by_parent));
      TW_EXPECT_OK(tw_window_ptr(shared, next, &by_child));
      EXPECT_EQ(by_child, by_parent);
      const int64_t value = 1000 + rank;
      TW_EXPECT_OK(tw_put(shared, next, 8, &value, sizeof value, nullptr));
      TW_EXPECT_OK(tw_barrier(child, nullptr));
      TW_EXPECT_OK(tw_window_ptr(shared, mine, &by_child));
      auto* const words = static_cast<int64_t*>(by_child);
      EXPECT_EQ(words[1], 1000 + last - 2 * ((mine + size - 1) % size));
      // A collective of the child reads and writes the parent's memory in place.
      for (int i = 0; i < 512; ++i) words[i] = rank + i;
      TW_EXPECT_OK(tw_all_reduce(words, words, 512, TW_INT64, TW_SUM, child, nullptr));
      const int sum = rank % 2 == 0 ? 0 + 2 + 4 : 1 + 3;
      for (int i = 0; i < 512; ++i) ASSERT_EQ(words[i], sum + size * i);
      TW_EXPECT_OK(tw_window_destroy(shared));
    }
    tw_window_t shared;
    EXPECT_EQ(tw_window_share(window, comm, &shared), TW_ERROR_INVALID_ARGUMENT);
    TW_EXPECT_OK(tw_comm_destroy(child));
    TW_EXPECT_OK(tw_window_destroy(registered));
    TW_EXPECT_OK(tw_window_destroy(window));
    TW_EXPECT_OK(tw_mem_free(memory));
  });
}

TEST(Comm, SharingDifferentWindowsIsRefusedOnAllRanks) {
  const ThreadRanks ranks(3);
  ranks.run([](int rank, tw_comm_t comm) {
    tw_window_t windows[2], shared;
    for (tw_window_t& window : windows) TW_EXPECT_OK(tw_window_create(comm, 64, &window));
    tw_comm_t child;
    TW_EXPECT_OK(tw_comm_split(comm, 0, rank, nullptr, &child));
    EXPECT_EQ(tw_window_share(windows[rank == 1], child, &shared), TW_ERROR_MISMATCH);
    EXPECT_EQ(pass_around(rank, child), 0);  // nothing has changed
    TW_EXPECT_OK(tw_comm_destroy(child));
    for (const tw_window_t window : windows) TW_EXPECT_OK(tw_window_destroy(window));
  });
}

bool said(const char* part) { return std::string(tw_last_error()).find(part) != std::string::npos; }

TEST(Comm, OneMemoryRegisteredTwice) {
  const ThreadRanks ranks(2);
  ranks.run([](int rank, tw_comm_t comm) {
    void* memory;
    TW_EXPECT_OK(tw_mem_alloc(1 << 20, nullptr, &memory));
    auto* const words = static_cast<float*>(memory);
    tw_window_t first, second;
    TW_EXPECT_OK(tw_window_register(comm, memory, 4096, &first));
    TW_EXPECT_OK(tw_window_register(comm, memory, 1 << 20, &second));
    EXPECT_EQ(tw_mem_free(memory), TW_ERROR_INVALID_STATE);
    EXPECT_TRUE(said("backs 2 window(s)")) << tw_last_error();
    TW_EXPECT_OK(tw_window_destroy(first));
    // What is left still says where the memory lies.
    for (int i = 0; i < 200000; ++i) words[i] = static_cast<float>(rank + i % 7);
    TW_EXPECT_OK(tw_all_reduce(words, words, 200000, TW_FP32, TW_SUM, comm, nullptr));
    for (int i = 0; i < 200000; ++i) ASSERT_EQ(words[i], static_cast<float>(1 + 2 * (i % 7)));
    TW_EXPECT_OK(tw_window_destroy(second));
    TW_EXPECT_OK(tw_mem_free(memory));
  });
}

TEST(Comm, SettingsThatMustAgreeAreComparedInChildrenToo) {
  const ThreadRanks ranks(3);
  ranks.run([](int rank, tw_comm_t comm) {
    tw_comm_config_t config = TW_COMM_CONFIG_INIT;
    if (rank == 1) config.max_memory = 64 << 20;
    tw_comm_t child;
    EXPECT_EQ(tw_comm_split(comm, 0, rank, &config, &child), TW_ERROR_MISMATCH);
    EXPECT_TRUE(said("max_memory=67108864")) << tw_last_error();
    EXPECT_EQ(pass_around(rank, comm), 0);  // the parent goes on
  });
}

// One rank's own refusal reaches the others, which do not wait for it.
TEST(Comm, TooLittleMemoryOnOneRankIsAnErrorOnAll) {
  const ThreadRanks ranks(3);
  ranks.run([](int rank, tw_comm_t comm) {
    tw_comm_config_t config = TW_COMM_CONFIG_INIT;
    if (rank == 1) config.max_memory = 1;
    tw_comm_t child;
    EXPECT_EQ(tw_comm_split(comm, 0, rank, &config, &child), TW_ERROR_INVALID_ARGUMENT);
    EXPECT_TRUE(said("rank 1") && said("max_memory")) << tw_last_error();
    EXPECT_EQ(pass_around(rank, comm), 0);
  });
}

TEST(Comm, DestroyNamesWhatLives) {
  const ThreadRanks ranks(2);
  ranks.run([](int, tw_comm_t comm) {
    tw_window_t window;
    tw_signals_t signals;
    TW_EXPECT_OK(tw_window_create(comm, 12345, &window));
    TW_EXPECT_OK(tw_signals_create(comm, 2, &signals));
    EXPECT_EQ(tw_comm_destroy(comm), TW_ERROR_INVALID_STATE);
    EXPECT_TRUE(said("window of 12345 bytes") && said("signal set of 256 bytes"))
        << tw_last_error();
    TW_EXPECT_OK(tw_window_destroy(window));
    TW_EXPECT_OK(tw_signals_destroy(signals));
  });
}

/// Two ranks that make different control calls: both get MISMATCH that holds `part`.
template <class Body>
void expect_mismatch(Body body, const char* part) {
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    EXPECT_EQ(body(rank, comm), TW_ERROR_MISMATCH) << tw_last_error();
    EXPECT_TRUE(said(part)) << tw_last_error();
  });
}

TEST(CommMismatch, WindowsDestroyedInAnotherOrder) {
  expect_mismatch(
      [](int rank, tw_comm_t comm) {
        tw_window_t windows[2];
        for (tw_window_t& window : windows) TW_EXPECT_OK(tw_window_create(comm, 64, &window));
        const tw_status_t status = tw_window_destroy(windows[rank]);
        const std::string sentence = tw_last_error();
        TW_EXPECT_OK(tw_window_destroy(windows[1 - rank]));  // the comm has ended: local
        return tw_fail(status, sentence.c_str());
      },
      "destroy different ones");
}

TEST(CommMismatch, AWindowAgainstSignals) {
  expect_mismatch(
      [](int rank, tw_comm_t comm) {
        tw_window_t window;
        tw_signals_t signals;
        return rank == 0 ? tw_window_create(comm, 64, &window)
                         : tw_signals_create(comm, 1, &signals);
      },
      "tw_signals_create");
}

TEST(CommMismatch, AWindowAgainstASplit) {
  expect_mismatch(
      [](int rank, tw_comm_t comm) {
        tw_window_t window;
        tw_comm_t child;
        return rank == 0 ? tw_window_create(comm, 64, &window)
                         : tw_comm_split(comm, 0, 0, nullptr, &child);
      },
      "tw_comm_split");
}

TEST(CommMismatch, OtherNumbersOfSlots) {
  expect_mismatch(
      [](int rank, tw_comm_t comm) {
        tw_signals_t signals;
        return tw_signals_create(comm, 3 + static_cast<size_t>(rank), &signals);
      },
      "rank 0 asks for 3 slots, rank 1 for 4; valid: as many on all ranks");
}

/// What two threads got from their calls on the same handle.
struct Race {
  tw_status_t a, b;
};

/// Both call at about the same moment; `delay` turns of a loop tell which is first.
template <class A, class B>
Race race(int delay, A a, B b) {
  Race got{};
  std::atomic<int> ready{0};
  const auto go = [&](int turns) {
    ready.fetch_add(1);
    while (ready.load() != 2) std::this_thread::yield();
    for (int i = 0; i < turns; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
  };
  std::thread other([&] {
    go(delay > 0 ? delay : 0);
    got.b = b();
  });
  go(delay < 0 ? -delay : 0);
  got.a = a();
  other.join();
  return got;
}

constexpr int kDelays[] = {-30000, -10000, -3000, -1000, -300, 0, 0, 300, 1000, 3000, 10000, 30000};

tw_comm_t lone_comm() {
  tw_comm_t comm;
  TW_EXPECT_OK(tw_comm_create_all(1, nullptr, &comm));
  return comm;
}

TEST(CommRace, TwoThreadsDestroyOneComm) {
  for (const int delay : kDelays) {
    const tw_comm_t comm = lone_comm();
    const auto destroy = [comm] { return tw_comm_destroy(comm); };
    const auto [a, b] = race(delay, destroy, destroy);
    EXPECT_TRUE((a == TW_OK) != (b == TW_OK)) << a << " " << b;
    const tw_status_t refused = a == TW_OK ? b : a;
    EXPECT_TRUE(refused == TW_ERROR_INVALID_HANDLE || refused == TW_ERROR_INVALID_STATE) << refused;
  }
}

TEST(CommRace, OtherCallsAgainstDestroy) {
  int rank;
  size_t bytes;
  float x = 1;
  const std::function<tw_status_t(tw_comm_t)> calls[] = {
      [&](tw_comm_t comm) { return tw_comm_rank(comm, &rank); },
      [&](tw_comm_t comm) { return tw_comm_memory(comm, &bytes); },
      [](tw_comm_t comm) { return tw_comm_abort(comm); },
      [](tw_comm_t comm) { return tw_comm_error(comm, nullptr, nullptr); },
      [](tw_comm_t comm) { return tw_comm_set_max_blocks(comm, 2); },
      [&](tw_comm_t comm) { return tw_all_reduce(&x, &x, 1, TW_FP32, TW_SUM, comm, nullptr); },
  };
  for (const auto& call : calls) {
    for (const int delay : kDelays) {
      const tw_comm_t comm = lone_comm();
      const auto [a, b] = race(
          delay, [comm] { return tw_comm_destroy(comm); }, [&] { return call(comm); });
      EXPECT_TRUE(b == TW_OK || b == TW_ERROR_INVALID_HANDLE || b == TW_ERROR_INVALID_STATE) << b;
      if (a == TW_OK) continue;
      EXPECT_EQ(a, TW_ERROR_INVALID_STATE) << "the other thread was inside";
      TW_EXPECT_OK(tw_comm_destroy(comm));
    }
  }
}

TEST(CommRace, WindowCallsAgainstDestroy) {
  const tw_comm_t comm = lone_comm();
  char byte = 1;
  void* ptr;
  const std::function<tw_status_t(tw_window_t)> calls[] = {
      [](tw_window_t window) { return tw_window_destroy(window); },
      [&](tw_window_t window) { return tw_window_ptr(window, 0, &ptr); },
      [&](tw_window_t window) { return tw_put(window, 0, 0, &byte, 1, nullptr); },
  };
  for (const auto& call : calls) {
    for (const int delay : kDelays) {
      tw_window_t window;
      TW_EXPECT_OK(tw_window_create(comm, 64, &window));
      const auto [a, b] = race(
          delay, [window] { return tw_window_destroy(window); }, [&] { return call(window); });
      EXPECT_TRUE(b == TW_OK || b == TW_ERROR_INVALID_HANDLE || b == TW_ERROR_INVALID_STATE) << b;
      EXPECT_TRUE(a == TW_OK || b == TW_OK) << a << " " << b;
      if (a == TW_OK || tw_window_destroy(window) == TW_ERROR_INVALID_HANDLE) continue;
    }
  }
  TW_EXPECT_OK(tw_comm_destroy(comm));
}

TEST(CommRace, AWindowThatIsBeingSharedIsNotDestroyed) {
  const ThreadRanks ranks(2);
  std::atomic<bool> refused{false};
  ranks.run([&](int rank, tw_comm_t comm) {
    tw_comm_t child;
    tw_window_t window, shared;
    TW_EXPECT_OK(tw_comm_split(comm, 0, rank, nullptr, &child));
    TW_EXPECT_OK(tw_window_create(comm, 64, &window));
    std::thread sharer([&] {
      for (int i = 0; rank == 1 && i < 2000 && !refused; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      TW_EXPECT_OK(tw_window_share(window, child, &shared));
    });
    if (rank == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      EXPECT_EQ(tw_window_destroy(window), TW_ERROR_INVALID_STATE);
      EXPECT_TRUE(said("tw_window_share")) << tw_last_error();
      refused = true;
    }
    sharer.join();
    TW_EXPECT_OK(tw_window_destroy(shared));
    TW_EXPECT_OK(tw_window_destroy(window));
    TW_EXPECT_OK(tw_comm_destroy(child));
  });
}

TEST(Comm, AWindowThatAPeerDoesNotDestroyIsATimeOut) {
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.timeout_ms = 100;
  const ThreadRanks ranks(2, &config);
  tw_window_t windows[2] = {};
  ranks.run(
      [&](int rank, tw_comm_t comm) { TW_EXPECT_OK(tw_window_create(comm, 64, &windows[rank])); });
  EXPECT_EQ(tw_window_destroy(windows[0]), TW_ERROR_TIMEOUT);
  EXPECT_TRUE(said("tw_window_destroy") && said("rank 1") && said("control call"))
      << tw_last_error();
  TW_EXPECT_OK(tw_window_destroy(windows[1]));  // local: the comm has ended
}

}  // namespace
