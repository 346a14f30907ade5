// What comms cost and give back: descriptors, threads, mappings, memory; and what happens when the
// system has no more of them. Every case runs in child processes, so that counts and limits are its
// own.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/runner/processes.h"
#include "tilewire.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    defined(TW_SANITIZE_ADDRESS) || defined(TW_SANITIZE_THREAD)
constexpr bool kSanitized = true;  // shadow memory: address-space limits and sizes mean nothing
#else
constexpr bool kSanitized = false;
#endif

namespace {

using tw::test::run_processes;

/// Runs `body` in a child; its exit status is the result.
int in_child(const std::function<int()>& body) {
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(60);
    _exit(body());
  }
  int status;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

int count_lines(const char* path) {
  std::ifstream file(path);
  int n = 0;
  for (std::string line; std::getline(file, line);) ++n;
  return n;
}

int count_entries(const char* path) {
  int n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path)) ++n;
  return n;
}

struct Usage {
  int fds = count_entries("/proc/self/fd");
  int threads = count_entries("/proc/self/task");
  int mappings = count_lines("/proc/self/maps");
  long pages = 0;
  Usage() {
    std::ifstream file("/proc/self/statm");
    long all;
    file >> all >> pages;
  }
};

/// One life of a comm with everything in it.
bool live_and_die(int n) {
  std::vector<tw_comm_t> comms(static_cast<size_t>(n));
  if (tw_comm_create_all(n, nullptr, comms.data()) != TW_OK) return false;
  std::atomic<bool> good{true};
  std::vector<std::thread> threads;
  for (const tw_comm_t comm : comms)
    threads.emplace_back([comm, &good] {
      tw_window_t window;
      float x = 1;
      if (tw_window_create(comm, 5000, &window) != TW_OK) good = false;
      if (tw_all_reduce(&x, &x, 1, TW_FP32, TW_SUM, comm, nullptr) != TW_OK) good = false;
      if (tw_window_destroy(window) != TW_OK) good = false;
    });
  for (std::thread& thread : threads) thread.join();
  for (const tw_comm_t comm : comms) good = good && tw_comm_destroy(comm) == TW_OK;
  return good;
}

TEST(Resources, AThousandThreadCommsLeaveNothing) {
  const int result = in_child([] {
    for (int i = 0; i < 20; ++i)
      if (!live_and_die(2)) return 1;
    const Usage before;
    for (int i = 0; i < 1000; ++i)
      if (!live_and_die(2)) return 1;
    const Usage after;
    if (after.fds != before.fds || after.threads != before.threads) return 2;
    if (!kSanitized && after.mappings > before.mappings + 8) return 3;  // malloc's arenas may move
    if (!kSanitized && after.pages > before.pages + 2048) return 4;     // 8 MiB; a leak is far more
    return 0;
  });
  EXPECT_EQ(result, 0);
}

TEST(Resources, AThousandProcessCommsLeaveNothing) {
  run_processes(2, [](int rank, tw_comm_t world) {
    // Children by split have sockets, heaps and a monitor of their own.
    const auto once = [&] {
      tw_comm_t comm;
      float x = 1;
      return tw_comm_split(world, 0, rank, nullptr, &comm) == TW_OK &&
             tw_all_reduce(&x, &x, 1, TW_FP32, TW_SUM, comm, nullptr) == TW_OK && x == 2 &&
             tw_comm_destroy(comm) == TW_OK;
    };
    for (int i = 0; i < 20; ++i)
      if (!once()) return 1;
    const Usage before;
    for (int i = 0; i < 1000; ++i)
      if (!once()) {
        std::fprintf(stderr, "rank %d, cycle %d: %s\n", rank, i, tw_last_error());
        return 2;
      }
    const Usage after;
    if (after.fds != before.fds || after.threads != before.threads) return 3;
    if (!kSanitized && after.mappings > before.mappings + 8) return 4;
    return !kSanitized && after.pages > before.pages + 2048 ? 5 : 0;
  });
}

TEST(Resources, TwoThousandWindowsUnder256Descriptors) {
  run_processes(4, [](int rank, tw_comm_t comm) {
    const rlimit limit = {256, 256};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
    std::vector<tw_window_t> windows(2000);
    for (size_t i = 0; i < windows.size(); ++i)
      if (tw_window_create(comm, 1000 + i, &windows[i]) != TW_OK) {
        std::fprintf(stderr, "window %zu: %s\n", i, tw_last_error());
        return 2;
      }
    for (size_t i = 0; i < windows.size(); i += 7) {
      const uint64_t value = 100 * i + static_cast<uint64_t>(rank);
      if (tw_put(windows[i], (rank + 1) % 4, 8, &value, 8, nullptr) != TW_OK) return 3;
    }
    if (tw_barrier(comm, nullptr) != TW_OK) return 4;
    for (size_t i = 0; i < windows.size(); i += 7) {
      uint64_t value;
      if (tw_get(&value, windows[i], rank, 8, 8, nullptr) != TW_OK) return 5;
      if (value != 100 * i + static_cast<uint64_t>((rank + 3) % 4)) return 6;
    }
    for (const tw_window_t window : windows)
      if (tw_window_destroy(window) != TW_OK) return 7;
    return 0;
  });
}

/// A comm of this process alone, after `limit` was put on `resource`, must fail with `want` and a
/// sentence; once the limit is lifted it must work, with no descriptor lost.
int fails_then_works(int resource, rlim_t limit, tw_status_t want) {
  if (!live_and_die(2)) return 1;
  rlimit old;
  getrlimit(resource, &old);
  const Usage before;
  const rlimit less = {limit, old.rlim_max};
  if (setrlimit(resource, &less) != 0) return 2;
  tw_comm_t comms[2];
  const tw_status_t status = tw_comm_create_all(2, nullptr, comms);
  const std::string sentence = tw_last_error();
  if (setrlimit(resource, &old) != 0) return 3;
  if (status != want || sentence.empty()) {
    std::fprintf(stderr, "%s: %s\n", tw_status_name(status), sentence.c_str());
    return 4;
  }
  const Usage after;
  if (after.fds != before.fds || after.threads != before.threads) return 5;
  return live_and_die(2) ? 0 : 6;
}

TEST(Resources, OutOfDescriptors) {
  EXPECT_EQ(in_child([] {
              return fails_then_works(RLIMIT_NOFILE,
                                      static_cast<rlim_t>(count_entries("/proc/self/fd")) - 1,
                                      TW_ERROR_OUT_OF_RESOURCES);
            }),
            0);
}

TEST(Resources, OutOfAddressSpace) {
  if (kSanitized) return;  // the sanitizers' shadow does not fit under any limit
  EXPECT_EQ(in_child([] {
              std::ifstream file("/proc/self/statm");
              rlim_t pages;
              file >> pages;
              return fails_then_works(RLIMIT_AS, (pages + 512) * 4096, TW_ERROR_OUT_OF_MEMORY);
            }),
            0);
}

TEST(Resources, AWindowThatDoesNotFitFailsOnEveryRankAndTheCommGoesOn) {
  run_processes(3, [](int rank, tw_comm_t comm) {
    tw_window_t window;
    const size_t mine = rank == 1 ? size_t{1} << 60 : 4096;
    const tw_status_t status = tw_window_create(comm, mine, &window);
    if (status != TW_ERROR_OUT_OF_MEMORY || std::strlen(tw_last_error()) == 0) {
      std::fprintf(stderr, "rank %d: %s: %s\n", rank, tw_status_name(status), tw_last_error());
      return 1;
    }
    int x = rank;
    if (tw_all_reduce(&x, &x, 1, TW_INT32, TW_SUM, comm, nullptr) != TW_OK || x != 3) return 2;
    if (tw_window_create(comm, 100, &window) != TW_OK) return 3;
    return tw_window_destroy(window) == TW_OK ? 0 : 4;
  });
}

/// Lets this process map `room` more bytes; returns what it could before.
rlimit limit_address_space(size_t room) {
  std::ifstream file("/proc/self/statm");
  rlim_t pages;
  file >> pages;
  rlimit before;
  getrlimit(RLIMIT_AS, &before);
  const rlimit limit = {pages * 4096 + room, before.rlim_max};
  setrlimit(RLIMIT_AS, &limit);
  return before;
}

/// Every rank writes into every other's part, then reads its own.
bool all_parts_are_reached(tw_comm_t comm, tw_window_t window, int rank, int n) {
  void* mine;
  for (int peer = 0; peer < n; ++peer)
    if (tw_put(window, peer, 4 * static_cast<size_t>(rank), &rank, 4, nullptr) != TW_OK)
      return false;
  if (tw_barrier(comm, nullptr) != TW_OK || tw_window_ptr(window, rank, &mine) != TW_OK)
    return false;
  for (int peer = 0; peer < n; ++peer)
    if (static_cast<int*>(mine)[peer] != peer) return false;
  return true;
}

TEST(Resources, AHeapThatOneRankCannotMapFailsOnEveryRankAndTheCommGoesOn) {
  if (kSanitized) return;  // as above
  constexpr size_t kBytes = size_t{256} << 20;
  for (const int victim : {0, 1})
    run_processes(3, [victim](int rank, tw_comm_t comm) {
      // Room for the rank's own heap and, on rank 1, for one more: peers' heaps are mapped last.
      rlimit before = {};
      if (rank == victim) before = limit_address_space(kBytes * (rank == 0 ? 3 : 5) / 2);
      tw_window_t window;
      const tw_status_t status = tw_window_create(comm, kBytes, &window);
      if (rank == victim) setrlimit(RLIMIT_AS, &before);
      const std::string named = "rank " + std::to_string(victim);
      if (status != TW_ERROR_OUT_OF_MEMORY ||
          (rank != victim && std::strstr(tw_last_error(), named.c_str()) == nullptr)) {
        std::fprintf(stderr, "rank %d: %s: %s\n", rank, tw_status_name(status), tw_last_error());
        return 1;
      }
      if (tw_window_create(comm, kBytes, &window) != TW_OK) return 2;
      if (!all_parts_are_reached(comm, window, rank, 3)) return 3;
      return tw_window_destroy(window) == TW_OK ? 0 : 4;
    });
}

TEST(Resources, AForkedChildIsRefusedAndDoesNotKeepItsParentAlive) {
  run_processes(2, [](int rank, tw_comm_t comm) {
    if (rank == 0) {
      // A child that lives on while its parent, rank 0, dies.
      int ends[2];
      if (pipe(ends) != 0) return 1;
      const pid_t child = fork();
      if (child == 0) {
        int x = 1;
        const bool refused =
            tw_all_reduce(&x, &x, 1, TW_INT32, TW_SUM, comm, nullptr) == TW_ERROR_INVALID_STATE &&
            std::strstr(tw_last_error(), "fork") != nullptr;
        if (write(ends[1], &refused, 1) != 1) _exit(1);
        usleep(1'500'000);
        _exit(0);
      }
      bool refused = false;
      if (read(ends[0], &refused, 1) != 1 || !refused) return 2;
      int x = 1;
      if (tw_all_reduce(&x, &x, 1, TW_INT32, TW_SUM, comm, nullptr) != TW_OK || x != 2) return 3;
      _exit(0);  // without destroying the comm
    }
    int x = 1;
    tw_status_t status = tw_all_reduce(&x, &x, 1, TW_INT32, TW_SUM, comm, nullptr);
    if (status == TW_OK && x != 2) return 4;
    if (status == TW_OK) status = tw_barrier(comm, nullptr);  // else rank 0 was gone before we left
    return status == TW_ERROR_PEER_LOST ? 0 : 5;
  });
}

TEST(Resources, AbortFromAnotherThreadEndsPendingCallsOfAllRanks) {
  run_processes(3, [](int rank, tw_comm_t comm) {
    std::thread aborter;
    if (rank == 0)
      aborter = std::thread([comm] {
        usleep(50'000);
        tw_comm_abort(comm);
      });
    tw_status_t status = TW_ERROR_ABORTED;
    // Rank 2 never comes: the others wait for it.
    if (rank != 2) {
      status = tw_barrier(comm, nullptr);
    } else {
      while (tw_comm_error(comm, &status, nullptr) == TW_OK && status == TW_OK) usleep(1000);
      status = tw_barrier(comm, nullptr);
    }
    if (aborter.joinable()) aborter.join();
    if (status != TW_ERROR_ABORTED || std::strstr(tw_last_error(), "rank 0") == nullptr) {
      std::fprintf(stderr, "rank %d: %s: %s\n", rank, tw_status_name(status), tw_last_error());
      return 1;
    }
    return 0;
  });
}

}  // namespace
