// Ranks that die or stop inside calls. The parent makes no comm; every rank is a child process.
//
// A trial: n ranks; the victim says in shared memory when it is inside the phase's call; the parent
// kills it after a random moment. A trial counts only when the victim was inside the call when it
// died. Survivors must get TW_ERROR_PEER_LOST that names the victim within a second of the kill,
// from the pending call or the next, then shrink and add right.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tilewire.h"

namespace {

constexpr int kMaxRanks = 8;
constexpr int kBad = 1;  // exit status of a rank that saw something wrong

enum class Phase {
  kBootstrap,
  kWindowCreate,
  kBarrier,
  kSmallAllReduce,
  kAllReduce16M,
  kAllReduce256M,
  kGroup,
};
constexpr Phase kPhases[] = {Phase::kBootstrap,      Phase::kWindowCreate, Phase::kBarrier,
                             Phase::kSmallAllReduce, Phase::kAllReduce16M, Phase::kAllReduce256M,
                             Phase::kGroup};
constexpr const char* kNames[] = {
    "bootstrap",         "window_create",      "barrier", "small all_reduce",
    "16 MiB all_reduce", "256 MiB all_reduce", "group"};

int64_t now_us() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

void sleep_us(int64_t us) {
  const timespec t = {us / 1000000, us % 1000000 * 1000};
  nanosleep(&t, nullptr);
}

/// In memory that parent and ranks share.
struct Shared {
  std::atomic<int> inside[kMaxRanks];  // this rank is inside the phase's call
  std::atomic<int> ready;              // ranks that are about to enter it
  std::atomic<int64_t> killed_at;
  std::atomic<int64_t> longest_us;  // from the kill to a survivor's error
  std::atomic<int> unheard;         // bootstrap: the victim never got to the others
  std::atomic<int> id_ready;
  tw_unique_id_t id;
  std::atomic<int> complained;
  char complaint[256];
};

struct Trial {
  Phase phase;
  int n;
  int victim;
  bool late;  // survivors enter late: the victim surely waits inside; else all are busy in it
  tw_unique_id_t id;
  Shared* shared;
};

[[noreturn]] void complain(const Trial& t, int rank, const char* what, tw_status_t status) {
  if (t.shared->complained.fetch_add(1) == 0)  // what follows from the first is of no interest
    std::snprintf(t.shared->complaint, sizeof t.shared->complaint, "rank %d: %s: %s: %.160s", rank,
                  what, tw_status_name(status), tw_last_error());
  _exit(kBad);
}

/// What a survivor must see; returns to the caller when it did.
void expect_lost(const Trial& t, int rank, tw_status_t status) {
  const int64_t took = now_us() - t.shared->killed_at.load();
  const std::string name = "rank " + std::to_string(t.victim);
  if (status != TW_ERROR_PEER_LOST || std::strstr(tw_last_error(), name.c_str()) == nullptr)
    complain(t, rank, "expected TW_ERROR_PEER_LOST naming the victim", status);
  int64_t longest = t.shared->longest_us.load();
  while (took > longest && !t.shared->longest_us.compare_exchange_weak(longest, took)) {
  }
}

struct Buffers {
  tw_window_t window = nullptr;
  float* data = nullptr;
  size_t count = 0;
};

size_t bytes_of(Phase phase) {
  if (phase == Phase::kAllReduce16M) return size_t{16} << 20;
  if (phase == Phase::kAllReduce256M) return size_t{256} << 20;
  return 4096;
}

/// One call of the phase.
tw_status_t call(const Trial& t, int rank, tw_comm_t comm, const Buffers& b) {
  switch (t.phase) {
    case Phase::kWindowCreate: {
      tw_window_t window;
      const tw_status_t status = tw_window_create(comm, 1 << 20, &window);
      return status == TW_OK ? tw_window_destroy(window) : status;
    }
    case Phase::kBarrier:
      return tw_barrier(comm, nullptr);
    case Phase::kGroup: {
      float in[64] = {}, out[64];
      tw_group_begin();
      tw_status_t first = TW_OK;  // once the comm has ended, calls inside say so and are not kept
      const auto keep = [&](tw_status_t status) {
        if (first == TW_OK) first = status;
      };
      for (int peer = 0; peer < t.n; ++peer) {
        if (peer == rank) continue;
        keep(tw_send(b.data, 512, TW_FP32, peer, comm, nullptr));
        keep(tw_recv(b.data + 512, 512, TW_FP32, peer, comm, nullptr));
      }
      keep(tw_all_reduce(in, out, 64, TW_FP32, TW_SUM, comm, nullptr));
      const tw_status_t end = tw_group_end();
      return end != TW_OK ? end : first;
    }
    default:
      return tw_all_reduce(b.data, b.data, b.count, TW_FP32, TW_SUM, comm, nullptr);
  }
}

/// The survivors go on without the victim.
void expect_shrink_works(const Trial& t, int rank, tw_comm_t comm) {
  tw_comm_t rest;
  if (const tw_status_t status = tw_comm_shrink(comm, nullptr, &rest); status != TW_OK)
    complain(t, rank, "tw_comm_shrink", status);
  int size;
  tw_comm_size(rest, &size);
  std::vector<int> values(3000, rank + 1);
  if (const tw_status_t status = tw_all_reduce(values.data(), values.data(), values.size(),
                                               TW_INT32, TW_SUM, rest, nullptr);
      status != TW_OK)
    complain(t, rank, "tw_all_reduce after shrink", status);
  const int want = t.n * (t.n + 1) / 2 - (t.victim + 1);
  for (const int value : values)
    if (value != want || size != t.n - 1) complain(t, rank, "wrong sum after shrink", TW_OK);
  if (tw_comm_destroy(rest) != TW_OK) complain(t, rank, "destroy", TW_OK);
}

[[noreturn]] void run_rank(const Trial& t, int rank) {
  alarm(100);
  Shared& s = *t.shared;
  const bool is_victim = rank == t.victim;
  const bool boot = t.phase == Phase::kBootstrap;
  const auto enter = [&] {
    s.ready.fetch_add(1);
    if (!is_victim && t.late) {
      while (s.killed_at.load() == 0) sleep_us(200);
    }
    s.inside[rank].store(1);
  };
  if (boot) enter();
  tw_comm_t comm;
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  if (boot) config.setup_timeout_ms = 3000;
  tw_status_t status = tw_comm_create(t.n, rank, &t.id, &config, &comm);
  if (boot) {
    s.inside[rank].store(0);
    // A victim that died before anybody heard of it is one that does not arrive.
    if (status == TW_ERROR_TIMEOUT) {
      s.unheard.store(1);
      _exit(std::strstr(tw_last_error(), std::to_string(t.victim).c_str()) != nullptr ? 0 : kBad);
    }
    // All may have got through before the kill: then the next call tells.
    while (status == TW_OK) status = tw_barrier(comm, nullptr);
    expect_lost(t, rank, status);
    _exit(0);
  }
  if (status != TW_OK) complain(t, rank, "tw_comm_create", status);
  Buffers b;
  b.count = bytes_of(t.phase) / sizeof(float);
  if (tw_window_create(comm, bytes_of(t.phase), &b.window) != TW_OK ||
      tw_window_ptr(b.window, rank, reinterpret_cast<void**>(&b.data)) != TW_OK)
    complain(t, rank, "tw_window_create", status);
  if (tw_barrier(comm, nullptr) != TW_OK) complain(t, rank, "tw_barrier", status);
  enter();
  do {
    status = call(t, rank, comm, b);
    if (status == TW_OK && is_victim) {
      s.inside[rank].store(0);
      s.inside[rank].store(1);
    }
  } while (status == TW_OK);
  s.inside[rank].store(0);
  expect_lost(t, rank, status);
  expect_shrink_works(t, rank, comm);
  if (tw_window_destroy(b.window) != TW_OK || tw_comm_destroy(comm) != TW_OK)
    complain(t, rank, "destroying the old comm", TW_OK);
  _exit(0);
}

Shared* shared_memory() {
  void* at =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return at == MAP_FAILED ? nullptr : new (at) Shared{};
}

/// A process that listens for the ranks, as tw_run does: the parent must not use the library.
pid_t start_root(Shared* shared) {
  const pid_t root = fork();
  if (root == 0) {
    alarm(100);
    if (tw_unique_id_create(&shared->id) == TW_OK) shared->id_ready.store(1);
    for (;;) pause();
  }
  while (shared->id_ready.load() == 0) sleep_us(100);
  return root;
}

void end_root(pid_t root) {
  kill(root, SIGKILL);
  waitpid(root, nullptr, 0);
}

/// True when the kill hit the victim inside the call. Reports what survivors complain of.
bool run_trial(Phase phase, int n, int victim, bool late, int64_t delay_us) {
  Shared* const shared = shared_memory();
  const pid_t root = start_root(shared);
  const Trial t{phase, n, victim, late, shared->id, shared};
  std::vector<pid_t> ranks;
  for (int rank = 0; rank < n; ++rank) {
    const pid_t pid = fork();
    if (pid == 0) run_rank(t, rank);
    ranks.push_back(pid);
  }
  const int64_t limit = now_us() + 60'000'000;
  while ((shared->inside[victim].load() == 0 || (!late && shared->ready.load() < n)) &&
         now_us() < limit)
    sleep_us(50);
  sleep_us(delay_us);
  shared->killed_at.store(now_us());
  kill(ranks[static_cast<size_t>(victim)], SIGKILL);
  int status;
  waitpid(ranks[static_cast<size_t>(victim)], &status, 0);
  bool hit = WIFSIGNALED(status) && shared->inside[victim].load() == 1;
  const char* const name = kNames[static_cast<int>(phase)];
  for (int rank = 0; rank < n; ++rank) {
    if (rank == victim) continue;
    waitpid(ranks[static_cast<size_t>(rank)], &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
        << name << ", n = " << n << ", victim " << victim << ", late " << late << ", delay "
        << delay_us << " us: rank " << rank << " ended with " << status << ": "
        << shared->complaint;
  }
  EXPECT_LT(shared->longest_us.load(), 1'000'000) << name << ", n = " << n;
  hit = hit && shared->unheard.load() == 0;
  end_root(root);
  munmap(shared, sizeof(Shared));
  return hit;
}

/// `wanted` kills that hit something pending.
void kill_in(Phase phase, int wanted) {
  std::mt19937 random(static_cast<unsigned>(phase) + 1);
  int hits = 0, trials = 0;
  for (; hits < wanted && trials < 4 * wanted + 10; ++trials) {
    const int n = 2 + static_cast<int>(random() % (phase == Phase::kAllReduce256M ? 3 : 7));
    const int victim = static_cast<int>(random() % static_cast<unsigned>(n));
    const int64_t delay = static_cast<int64_t>(random() % 5000);
    hits +=
        run_trial(phase, n, victim, trials % 2 == 0 && phase != Phase::kBootstrap, delay) ? 1 : 0;
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GE(hits, wanted) << kNames[static_cast<int>(phase)] << ": " << trials
                          << " kills, too few hit the victim inside the call";
}

int kills_per_phase() {
  // The long run: 1,000 in all.
  return std::getenv("TW_TEST_LONG") != nullptr ? 1000 / static_cast<int>(std::size(kPhases)) + 1
                                                : 5;
}

TEST(Failure, KillDuringBootstrap) { kill_in(Phase::kBootstrap, kills_per_phase()); }
TEST(Failure, KillDuringWindowCreate) { kill_in(Phase::kWindowCreate, kills_per_phase()); }
TEST(Failure, KillDuringBarrier) { kill_in(Phase::kBarrier, kills_per_phase()); }
TEST(Failure, KillDuringSmallAllReduce) { kill_in(Phase::kSmallAllReduce, kills_per_phase()); }
TEST(Failure, KillDuringAllReduce16M) { kill_in(Phase::kAllReduce16M, kills_per_phase()); }
TEST(Failure, KillDuringAllReduce256M) { kill_in(Phase::kAllReduce256M, kills_per_phase()); }
TEST(Failure, KillDuringGroup) { kill_in(Phase::kGroup, kills_per_phase()); }

/// Rank 1 stops inside an all-reduce; rank 0 must get a time-out that says where; then rank 1 goes
/// on and finds the comm ended.
TEST(Failure, StoppedRankIsATimeOutAndMayResume) {
  Shared* const shared = shared_memory();
  const pid_t root = start_root(shared);
  const tw_unique_id_t id = shared->id;
  const auto rank_body = [&](int rank) {
    alarm(60);
    tw_comm_config_t config = TW_COMM_CONFIG_INIT;
    config.timeout_ms = 300;
    tw_comm_t comm;
    if (tw_comm_create(2, rank, &id, &config, &comm) != TW_OK) _exit(2);
    float x = 1;
    for (int i = 0; i < 3; ++i)
      if (tw_all_reduce(&x, &x, 1, TW_FP32, TW_SUM, comm, nullptr) != TW_OK) _exit(3);
    if (rank == 1) {
      shared->inside[1].store(1);
      raise(SIGSTOP);
      const tw_status_t status = tw_all_reduce(&x, &x, 1, TW_FP32, TW_SUM, comm, nullptr);
      if (status != TW_ERROR_TIMEOUT) _exit(4);
      _exit(tw_comm_destroy(comm) == TW_OK ? 0 : 5);
    }
    const int64_t start = now_us();
    const tw_status_t status = tw_all_reduce(&x, &x, 1, TW_FP32, TW_SUM, comm, nullptr);
    const int64_t took = now_us() - start;
    const char* said = tw_last_error();
    std::snprintf(shared->complaint, sizeof shared->complaint, "%s", said);
    if (status != TW_ERROR_TIMEOUT) _exit(6);
    if (took < 290'000 || took > 1'300'000) _exit(7);
    if (std::strstr(said, "rank 1") == nullptr || std::strstr(said, "all_reduce") == nullptr ||
        std::strstr(said, "call 4") == nullptr)
      _exit(8);
    shared->inside[0].store(1);
    _exit(tw_comm_destroy(comm) == TW_OK ? 0 : 9);
  };
  pid_t ranks[2];
  for (int rank = 0; rank < 2; ++rank)
    if ((ranks[rank] = fork()) == 0) rank_body(rank);
  int status;
  waitpid(ranks[0], &status, 0);
  EXPECT_EQ(status, 0) << "exit " << WEXITSTATUS(status) << ": " << shared->complaint;
  kill(ranks[1], SIGCONT);
  waitpid(ranks[1], &status, 0);
  EXPECT_EQ(status, 0) << "exit " << WEXITSTATUS(status);
  end_root(root);
  munmap(shared, sizeof(Shared));
}

}  // namespace
