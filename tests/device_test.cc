// The CPU device: launches, targets, sharing. Order and queues: stream_test.cc.
#include "lib/device/device.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "lib/base/error.h"
#include "lib/device/isa.h"
#include "tests/runner/ranks.h"

namespace {

using tw::CpuTarget;
using tw::Device;
using tw::test::ScopedEnv;

constexpr int kBlocks = 37;

/// What the blocks of a launch leave behind.
struct Trace {
  std::atomic<int> runs[kBlocks];
  std::thread::id where[kBlocks];
  std::atomic<int> order{0};
  int at[kBlocks];  // when the block ran, as a number
};

void trace(const void* args, int block, int blocks) {
  Trace& t = **static_cast<Trace* const*>(args);
  EXPECT_EQ(blocks, kBlocks);
  t.runs[block].fetch_add(1);
  t.where[block] = std::this_thread::get_id();
  t.at[block] = t.order.fetch_add(1);
}

void expect_all_once(const Trace& t) {
  for (int b = 0; b < kBlocks; ++b) EXPECT_EQ(t.runs[b].load(), 1) << "block " << b;
}

/// Every thread took its blocks in increasing order.
void expect_in_order(const Trace& t) {
  for (int a = 0; a < kBlocks; ++a)
    for (int b = a + 1; b < kBlocks; ++b)
      if (t.where[a] == t.where[b]) {
        EXPECT_LT(t.at[a], t.at[b]) << "blocks " << a << " and " << b;
      }
}

int threads_of_process() {
  DIR* const folder = opendir("/proc/self/task");
  int count = 0;
  while (const dirent* entry = readdir(folder)) count += entry->d_name[0] != '.' ? 1 : 0;
  closedir(folder);
  return count;
}

TEST(Device, RunsEveryBlockOnce) {
  for (int workers : {1, 2, 4, 64}) {
    const std::shared_ptr<Device> device = tw::create_cpu_device(workers, true);
    for (int i = 0; i < 20; ++i) {
      Trace t = {};
      Trace* const args = &t;
      device->launch(trace, &args, kBlocks);
      expect_all_once(t);
      expect_in_order(t);
      EXPECT_EQ(t.where[0], std::this_thread::get_id());
    }
  }
}

/// Blocks that wait for each other, as blocks of a cooperative kernel may while there are workers.
struct Meeting {
  std::atomic<int> here{0};
  std::atomic<bool> together{true};
};

void meet(const void* args, int /*block*/, int blocks) {
  Meeting& m = **static_cast<Meeting* const*>(args);
  m.here.fetch_add(1);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (m.here.load() < blocks) {
    if (std::chrono::steady_clock::now() > end) {
      m.together = false;
      return;
    }
    std::this_thread::yield();
  }
}

TEST(Device, RunsAsManyBlocksAtOnceAsItHasWorkers) {
  const std::shared_ptr<Device> device = tw::create_cpu_device(4, true);
  for (int i = 0; i < 50; ++i) {
    Meeting m;
    Meeting* const args = &m;
    device->launch(meet, &args, 4);
    ASSERT_TRUE(m.together);
    // Long enough that workers sleep now and then.
    if (i % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

TEST(Device, StartsOnlyTheWorkersThatALaunchNeeds) {
  const int before = threads_of_process();
  const std::shared_ptr<Device> device = tw::create_cpu_device(16, true);
  EXPECT_EQ(threads_of_process(), before);
  Meeting m;
  Meeting* const args = &m;
  device->launch(meet, &args, 1);
  EXPECT_EQ(threads_of_process(), before);
  m.here = 0;
  device->launch(meet, &args, 3);
  EXPECT_EQ(threads_of_process(), before + 2);
}

/// A launch inside a launch, from another thread: it may not wait for the first.
struct Nested {
  Device* device;
  Trace inner{};
};

void nest(const void* args, int block, int /*blocks*/) {
  Nested& n = **static_cast<Nested* const*>(args);
  if (block != 0) return;
  std::thread other([&n] {
    Trace* const inner = &n.inner;
    n.device->launch(trace, &inner, kBlocks);
  });
  other.join();
}

TEST(Device, ALaunchNeverWaitsForAnotherOne) {
  const std::shared_ptr<Device> device = tw::create_cpu_device(3, true);
  Nested n{device.get()};
  Nested* const args = &n;
  device->launch(nest, &args, 3);
  expect_all_once(n.inner);
}

void look(const void* args, int block, int /*blocks*/) {
  struct Seen {
    sigset_t blocked;
    cpu_set_t cores;
  };
  Seen* const seen = *static_cast<Seen* const*>(args) + block;
  pthread_sigmask(SIG_BLOCK, nullptr, &seen->blocked);
  sched_getaffinity(0, sizeof seen->cores, &seen->cores);
}

TEST(Device, WorkersBlockSignalsAndInheritTheAffinityMask) {
  struct {
    sigset_t blocked;
    cpu_set_t cores;
  } seen[2];
  sigset_t before, after;
  pthread_sigmask(SIG_BLOCK, nullptr, &before);
  const std::shared_ptr<Device> device = tw::create_cpu_device(2, true);
  void* const args = seen;
  device->launch(look, &args, 2);
  pthread_sigmask(SIG_BLOCK, nullptr, &after);
  for (int s : {SIGINT, SIGTERM, SIGUSR1, SIGCHLD, SIGALRM}) {
    EXPECT_EQ(sigismember(&seen[1].blocked, s), 1) << s;
    EXPECT_EQ(sigismember(&seen[0].blocked, s), sigismember(&before, s)) << s;
    EXPECT_EQ(sigismember(&after, s), sigismember(&before, s)) << s;
  }
  EXPECT_TRUE(CPU_EQUAL(&seen[0].cores, &seen[1].cores));
}

TEST(Device, TheProcessDeviceIsOneAndGrows) {
  const std::shared_ptr<Device> one = tw::process_cpu_device(1, true);
  const std::shared_ptr<Device> two = tw::process_cpu_device(3, true);
  EXPECT_EQ(one, two);
  Meeting m;
  Meeting* const args = &m;
  one->launch(meet, &args, 3);
  EXPECT_TRUE(m.together);
}

// ---- Targets ----

TEST(Targets, PortableRunsEverywhereAndIsObeyed) {
  EXPECT_TRUE(tw::cpu_runs(CpuTarget::kPortable));
  const ScopedEnv forced("TW_DEVICE_TARGET", "cpu_portable");
  EXPECT_EQ(tw::cpu_target(), CpuTarget::kPortable);
  EXPECT_EQ(tw::create_cpu_device(1)->target(), CpuTarget::kPortable);
}

TEST(Targets, AutoIsTheBestThatRuns) {
  const ScopedEnv unset("TW_DEVICE_TARGET", "");
  const CpuTarget best = tw::cpu_target();
  for (int i = 0; i < static_cast<int>(best); ++i)
    EXPECT_FALSE(tw::cpu_runs(static_cast<CpuTarget>(i)));
  EXPECT_TRUE(tw::cpu_runs(best));
}

#if defined(__x86_64__) && !defined(__clang__)
TEST(Targets, AgreeWithTheCompilersOwnDetection) {
  EXPECT_EQ(tw::cpu_runs(CpuTarget::kAvx2), __builtin_cpu_supports("x86-64-v3") != 0);
  EXPECT_EQ(tw::cpu_runs(CpuTarget::kAvx512), __builtin_cpu_supports("x86-64-v4") != 0);
  EXPECT_EQ(tw::cpu_runs(CpuTarget::kAvx512Bf16),
            __builtin_cpu_supports("x86-64-v4") != 0 && __builtin_cpu_supports("avx512bf16") != 0);
}
#endif

TEST(Targets, AForcedTargetThatCannotRunIsAClearError) {
  for (int i = 0; i < tw::kCpuTargets; ++i) {
    const CpuTarget target = static_cast<CpuTarget>(i);
    const ScopedEnv forced("TW_DEVICE_TARGET", tw::cpu_target_name(target));
    try {
      EXPECT_EQ(tw::cpu_target(), target);
      EXPECT_TRUE(tw::cpu_runs(target));
    } catch (const tw::Error& error) {
      EXPECT_FALSE(tw::cpu_runs(target));
      EXPECT_EQ(error.status(), TW_ERROR_UNSUPPORTED);
      EXPECT_NE(std::string(error.what()).find("valid here"), std::string::npos) << error.what();
    }
  }
}

TEST(Targets, AnUnknownTargetEndsSetUp) {
  const ScopedEnv forced("TW_DEVICE_TARGET", "cpu_abacus");
  tw_comm_t comm;
  EXPECT_EQ(tw_comm_create_all(1, nullptr, &comm), TW_ERROR_INVALID_ARGUMENT);
  EXPECT_NE(std::string(tw_last_error()).find("cpu_abacus"), std::string::npos) << tw_last_error();
}

}  // namespace
