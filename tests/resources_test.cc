// What comms cost and give back: descriptors, threads, mappings, memory; and what happens when the
// system has no more of them. Every case runs in child processes, so that counts and limits are its
// own.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
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

/// Shared pages that this process has mapped, in KiB.
long shared_pages() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word)
    if (word == "RssShmem:" && status >> word) return std::stol(word);
  return 0;
}

TEST(Resources, OwnersTouchTheirPartsOfAWindow) {
  run_processes(2, [](int rank, tw_comm_t comm) {
    constexpr long kKiB = 32 << 10;
    const long before = shared_pages();
    tw_window_t window;
    if (tw_window_create(comm, rank == 1 ? 1024 * kKiB : 0, &window) != TW_OK) return 1;
    const long after = shared_pages();
    if (rank == 1 && after - before < kKiB) return 2;
    if (rank == 0 && after - before > kKiB / 2) return 3;
    return tw_window_destroy(window) == TW_OK ? 0 : 4;
  });
}

TEST(Resources, RegisteredWindowsCostNoDescriptors) {
  run_processes(4, [](int rank, tw_comm_t comm) {
    const rlimit limit = {100, 100};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
    constexpr size_t kWindows = 300;
    std::vector<tw_window_t> windows(kWindows);
    std::vector<void*> memory(kWindows);
    for (size_t i = 0; i < kWindows; ++i)
      if (tw_mem_alloc(4096, nullptr, &memory[i]) != TW_OK ||
          tw_window_register(comm, memory[i], 4096, &windows[i]) != TW_OK) {
        std::fprintf(stderr, "window %zu: %s\n", i, tw_last_error());
        return 2;
      }
    for (size_t i = 0; i < kWindows; i += 7) {
      const uint64_t value = 100 * i + static_cast<uint64_t>(rank);
      if (tw_put(windows[i], (rank + 1) % 4, 8, &value, 8, nullptr) != TW_OK) return 3;
    }
    if (tw_barrier(comm, nullptr) != TW_OK) return 4;
    for (size_t i = 0; i < kWindows; i += 7) {
      uint64_t value;
      std::memcpy(&value, static_cast<char*>(memory[i]) + 8, sizeof value);
      if (value != 100 * i + static_cast<uint64_t>((rank + 3) % 4)) return 5;
    }
    for (size_t i = 0; i < kWindows; ++i)
      if (tw_window_destroy(windows[i]) != TW_OK || tw_mem_free(memory[i]) != TW_OK) return 6;
    return 0;
  });
}

// One rank cannot take what the others pass: all fail, nothing is left under way that a later
// window would take for its own.
TEST(Resources, AWindowThatOneRankCannotReceiveIsRegisteredByNone) {
  run_processes(3, [](int rank, tw_comm_t comm) {
    constexpr size_t kBytes = size_t{1} << 20;
    void* memory;
    if (tw_mem_alloc(kBytes, nullptr, &memory) != TW_OK) return 1;
    rlimit old;
    getrlimit(RLIMIT_NOFILE, &old);
    const int next = dup(0);  // the lowest free one: no further descriptor fits
    close(next);
    const rlimit none = {static_cast<rlim_t>(next), old.rlim_max};
    if (rank == 1 && setrlimit(RLIMIT_NOFILE, &none) != 0) return 2;
    tw_window_t window;
    if (tw_window_register(comm, memory, kBytes, &window) != TW_ERROR_OUT_OF_RESOURCES) {
      std::fprintf(stderr, "rank %d: %s\n", rank, tw_last_error());
      return 3;
    }
    if (std::strstr(tw_last_error(), "descriptor") == nullptr) return 4;
    if (setrlimit(RLIMIT_NOFILE, &old) != 0) return 5;
    // Pools of other sizes, so that a descriptor of the first would be mapped wrongly.
    void* other;
    if (tw_mem_alloc(kBytes * static_cast<size_t>(64 + rank), nullptr, &other) != TW_OK) return 6;
    for (void* const at : {other, memory}) {
      if (tw_window_register(comm, at, kBytes, &window) != TW_OK) {
        std::fprintf(stderr, "rank %d: %s\n", rank, tw_last_error());
        return 7;
      }
      const uint64_t value = 1000 + static_cast<uint64_t>(rank);
      if (tw_put(window, (rank + 1) % 3, 8, &value, 8, nullptr) != TW_OK) return 8;
      if (tw_barrier(comm, nullptr) != TW_OK) return 9;
      uint64_t got;
      std::memcpy(&got, static_cast<char*>(at) + 8, sizeof got);
      if (got != 1000 + static_cast<uint64_t>((rank + 2) % 3)) return 10;
      if (tw_window_destroy(window) != TW_OK) return 11;
    }
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

/// A call whose helpers cannot be started is carried out by the threads that there are.
TEST(Resources, OutOfThreads) {
  if (kSanitized) return;
  EXPECT_EQ(
      in_child([] {
        tw_comm_config_t config = TW_COMM_CONFIG_INIT;
        config.workers = 6;
        tw_comm_t comm;
        tw_unique_id_t id;
        if (tw_unique_id_create(&id) != TW_OK) return 1;
        if (tw_comm_create(1, 0, &id, &config, &comm) != TW_OK) return 2;
        rlimit old;
        getrlimit(RLIMIT_AS, &old);
        std::ifstream file("/proc/self/statm");
        rlim_t pages;
        file >> pages;
        const size_t count = size_t{1} << 20;
        std::vector<int> in(count, 3), out(count);
        // Room for one thread's stack, not for five.
        const rlimit less = {(pages + 4096) * 4096, old.rlim_max};
        if (setrlimit(RLIMIT_AS, &less) != 0) return 3;
        const int threads = count_entries("/proc/self/task");
        for (int i = 0; i < 3; ++i) {
          if (tw_all_reduce(in.data(), out.data(), count, TW_INT32, TW_SUM, comm, nullptr) != TW_OK)
            return 4;
          if (out != in) return 5;
          std::fill(out.begin(), out.end(), 0);
        }
        if (count_entries("/proc/self/task") >= threads + 5) return 6;  // none was short
        if (setrlimit(RLIMIT_AS, &old) != 0) return 7;
        return tw_comm_destroy(comm) == TW_OK ? 0 : 8;
      }),
      0);
}

TEST(Resources, AForkedChildMayNotUseStreamsOrMemoryOfItsParent) {
  EXPECT_EQ(in_child([] {
              void* memory;
              if (tw_mem_alloc(4096, nullptr, &memory) != TW_OK) return 1;
              const pid_t child = fork();
              if (child == 0) _exit(tw_mem_free(memory) == TW_ERROR_INVALID_STATE ? 0 : 1);
              int status;
              if (waitpid(child, &status, 0) != child || status != 0) return 2;
              return tw_mem_free(memory) == TW_OK ? 0 : 3;
            }),
            0);
  EXPECT_EQ(in_child([] {
              tw_stream_t stream;
              if (tw_stream_create(nullptr, &stream) != TW_OK) return 1;
              const pid_t child = fork();
              if (child == 0)
                _exit(tw_stream_synchronize(stream) == TW_ERROR_INVALID_STATE ? 0 : 1);
              int status;
              if (waitpid(child, &status, 0) != child || status != 0) return 2;
              return tw_stream_destroy(stream) == TW_OK ? 0 : 3;
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
    if (tw_all_reduce(&x, &x, 1, TW_INT32, TW_SUM, comm, nullptr) != TW_OK || x != 2) {
      std::fprintf(stderr, "x %d: %s\n", x, tw_last_error());
      return 4;
    }
    if (tw_barrier(comm, nullptr) != TW_ERROR_PEER_LOST) return 5;
    return 0;
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
