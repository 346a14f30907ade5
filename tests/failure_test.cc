// Ranks that die inside calls. Every rank is a process.
//
// A trial: n ranks; every rank says in shared memory in which call of the phase it is; the parent
// kills the victim after a random moment. A trial counts only when the victim was inside the call
// when it died, and at least one survivor was inside one throughout the kill. Survivors must get
// TW_ERROR_PEER_LOST that names the victim within a second of the kill, from the pending call or
// the next, then shrink and add right.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "tests/runner/mortal_ranks.h"
#include "tilewire.h"

namespace tw::test {
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
  kAllGatherGemm,
  kGemmReduceScatter,
  kGemmAllReduce,
  kGemmAllToAll,
  kAllReduceNorm,
};
constexpr Phase kPhases[] = {
    Phase::kBootstrap,         Phase::kWindowCreate,  Phase::kBarrier,      Phase::kSmallAllReduce,
    Phase::kAllReduce16M,      Phase::kAllReduce256M, Phase::kGroup,        Phase::kAllGatherGemm,
    Phase::kGemmReduceScatter, Phase::kGemmAllReduce, Phase::kGemmAllToAll, Phase::kAllReduceNorm};
constexpr const char* kNames[] = {
    "bootstrap",           "window_create",      "barrier",         "small all_reduce",
    "16 MiB all_reduce",   "256 MiB all_reduce", "group",           "all_gather_gemm",
    "gemm_reduce_scatter", "gemm_all_reduce",    "gemm_all_to_all", "all_reduce_residual_rms_norm"};
constexpr bool is_fused(Phase phase) { return phase >= Phase::kAllGatherGemm; }

/// In memory that parent and ranks share.
struct Shared {
  std::atomic<int> inside[kMaxRanks];  // number of the phase's call that the rank is in; 0 = none
  std::atomic<int> ready;              // ranks that are about to enter the first
  std::atomic<int64_t> killed_at;
  std::atomic<int64_t> longest_us;  // from the kill to a survivor's error
  std::atomic<int> unheard;         // bootstrap: the victim never got to the others
  std::atomic<int> complained;
  char complaint[256];
};

struct Trial {
  Phase phase;
  int n;
  int victim;
  /// All survivors but one enter after the kill: victim and survivor surely wait inside. Else all
  /// ranks make one call after the other.
  bool late;
  bool own_memory;  // all-reduce of private memory, not of a window
  bool grows;       // windows that need new memory in every call
  int64_t delay_us;

  int early() const { return (victim + 1) % n; }  // late: the survivor that enters before the kill
  std::string text() const {
    return std::string(kNames[static_cast<int>(phase)]) + ", n = " + std::to_string(n) +
           ", victim " + std::to_string(victim) + (late ? ", late" : "") +
           (own_memory ? ", private memory" : "") + (grows ? ", growing" : "") + ", delay " +
           std::to_string(delay_us) + " us";
  }
};

[[noreturn]] void complain(Shared& s, int rank, const char* what, tw_status_t status) {
  if (s.complained.fetch_add(1) == 0)  // what follows from the first is of no interest
    std::snprintf(s.complaint, sizeof s.complaint, "rank %d: %s: %s: %.160s", rank, what,
                  tw_status_name(status), tw_last_error());
  _exit(kBad);
}

/// What a survivor must see; returns to the caller when it did.
void expect_lost(const Trial& t, Shared& s, int rank, tw_status_t status) {
  const int64_t took = now_us() - s.killed_at.load();
  const std::string name = "rank " + std::to_string(t.victim);
  if (status != TW_ERROR_PEER_LOST || std::strstr(tw_last_error(), name.c_str()) == nullptr)
    complain(s, rank, "expected TW_ERROR_PEER_LOST naming the victim", status);
  int64_t longest = s.longest_us.load();
  while (took > longest && !s.longest_us.compare_exchange_weak(longest, took)) {
  }
}

size_t bytes_of(Phase phase) {
  if (phase == Phase::kAllReduce16M) return size_t{16} << 20;
  if (phase == Phase::kAllReduce256M) return size_t{256} << 20;
  return 4096;
}

struct Buffers {
  tw_window_t window = nullptr;
  std::vector<float> own;
  float* data = nullptr;  // of the window, or own
  size_t count = 0;
  std::vector<tw_window_t> more;  // windows made by the phase, and their bytes
  size_t grown = 0;
  std::vector<float> result;  // of fused calls
};

/// Each needs more than is free: a heap grows by what it holds, up to 1 GiB, and these take what is
/// added whole. Never touched, so they are addresses only; but no heap may exceed the machine.
tw_status_t create_growing(tw_comm_t comm, Buffers& b) {
  constexpr size_t kMost = size_t{1} << 30;
  const size_t bytes = std::min(kMost, (size_t{16} << 20) << b.more.size());
  const size_t machine = static_cast<size_t>(sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE));
  if (b.grown + bytes > machine / 2) return tw_barrier(comm, nullptr);  // the kill is late
  tw_window_t window;
  const tw_status_t status = tw_window_create(comm, bytes, &window);
  if (status != TW_OK) return status;
  b.more.push_back(window);
  b.grown += bytes;
  return TW_OK;
}

constexpr float kUnwritten = -1;
/// A fused call whose operands are all ones: kFusedM x kFusedN, some milliseconds of work.
constexpr size_t kFusedM = 96, kFusedN = 256, kFusedK = 512;
/// Rows or columns of a rank, where each has its own: the first has more.
size_t fused_part(size_t size, int ranks, int rank) {
  const size_t n = static_cast<size_t>(ranks);
  return size / n + (rank == 0 ? size % n : 0);
}
tw_status_t fused_call(Phase phase, int ranks, tw_comm_t comm, std::vector<float>& c) {
  static const std::vector<float> ones(kFusedK * (kFusedN + kFusedM), 1.0F);
  c.assign(kFusedM * kFusedN, kUnwritten);
  std::vector<size_t> rows, cols;
  for (int rank = 0; rank < ranks; ++rank) {
    rows.push_back(fused_part(kFusedM, ranks, rank));
    cols.push_back(fused_part(kFusedN, ranks, rank));
  }
  tw_gemm_args_t args = TW_GEMM_ARGS_INIT;
  args.m = kFusedM;
  args.n = kFusedN;
  args.type = args.out_type = TW_FP32;
  args.a = ones.data();
  args.c = c.data();
  if (phase == Phase::kAllReduceNorm) {
    args.norm_weight = ones.data();
    return tw_all_reduce_residual_rms_norm(&args, comm, nullptr);
  }
  args.k = kFusedK;
  args.b = ones.data();
  if (phase == Phase::kGemmAllReduce) return tw_gemm_all_reduce(&args, comm, nullptr);
  args.rows = rows.data();
  if (phase == Phase::kAllGatherGemm) return tw_all_gather_gemm(&args, comm, nullptr);
  if (phase == Phase::kGemmReduceScatter) return tw_gemm_reduce_scatter(&args, comm, nullptr);
  args.cols = cols.data();
  return tw_gemm_all_to_all(&args, comm, nullptr);
}

/// One call of the phase.
tw_status_t call(const Trial& t, int rank, tw_comm_t comm, Buffers& b) {
  switch (t.phase) {
    case Phase::kWindowCreate: {
      if (t.grows) return create_growing(comm, b);
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
      if (is_fused(t.phase)) return fused_call(t.phase, t.n, comm, b.result);
      return tw_all_reduce(b.data, b.data, b.count, TW_FP32, TW_SUM, comm, nullptr);
  }
}

/// The survivors' fused call: all of its result, and nothing beyond.
void expect_fused_works(const Trial& t, Shared& s, int rank, tw_comm_t rest) {
  std::vector<float> c;
  const int ranks = t.n - 1, own = rank - (rank > t.victim ? 1 : 0);
  if (const tw_status_t status = fused_call(t.phase, ranks, rest, c); status != TW_OK)
    complain(s, rank, "fused call after shrink", status);
  size_t rows = kFusedM, cols = kFusedN;
  if (t.phase == Phase::kGemmReduceScatter) rows = fused_part(rows, ranks, own);
  if (t.phase == Phase::kGemmAllToAll) cols = fused_part(cols, ranks, own);
  const bool sums = t.phase == Phase::kGemmReduceScatter || t.phase == Phase::kGemmAllReduce;
  const bool norms = t.phase == Phase::kAllReduceNorm;
  const float want = norms ? 1 : static_cast<float>(kFusedK) * static_cast<float>(sums ? ranks : 1);
  for (size_t i = 0; i < c.size(); ++i)
    if (std::fabs(c[i] - (i < rows * cols ? want : kUnwritten)) > (norms ? 1e-3F : 0))
      complain(
          s, rank,
          ("a fused call's result " + std::to_string(i) + " is " + std::to_string(c[i])).c_str(),
          TW_OK);
}

/// The survivors go on without the victim.
void expect_shrink_works(const Trial& t, Shared& s, int rank, tw_comm_t comm) {
  tw_comm_t rest;
  if (const tw_status_t status = tw_comm_shrink(comm, nullptr, &rest); status != TW_OK)
    complain(s, rank, "tw_comm_shrink", status);
  int size;
  tw_comm_size(rest, &size);
  std::vector<int> values(3000, rank + 1);
  if (const tw_status_t status = tw_all_reduce(values.data(), values.data(), values.size(),
                                               TW_INT32, TW_SUM, rest, nullptr);
      status != TW_OK)
    complain(s, rank, "tw_all_reduce after shrink", status);
  const int want = t.n * (t.n + 1) / 2 - (t.victim + 1);
  for (const int value : values)
    if (value != want || size != t.n - 1) complain(s, rank, "wrong sum after shrink", TW_OK);
  if (is_fused(t.phase)) expect_fused_works(t, s, rank, rest);
  if (tw_comm_destroy(rest) != TW_OK) complain(s, rank, "destroy", TW_OK);
}

/// Before the phase's first call.
void enter(const Trial& t, Shared& s, int rank) {
  s.ready.fetch_add(1);
  if (t.late && rank != t.victim && rank != t.early())
    while (s.killed_at.load() == 0) sleep_us(200);
}

[[noreturn]] void bootstrap(const Trial& t, Shared& s, int rank, const tw_unique_id_t& id) {
  tw_comm_t comm;
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.setup_timeout_ms = 3000;
  enter(t, s, rank);
  s.inside[rank].store(1);
  tw_status_t status = tw_comm_create(t.n, rank, &id, &config, &comm);
  s.inside[rank].store(0);
  // A victim that died before anybody heard of it is one that does not arrive.
  if (status == TW_ERROR_TIMEOUT) {
    s.unheard.store(1);
    _exit(std::strstr(tw_last_error(), std::to_string(t.victim).c_str()) != nullptr ? 0 : kBad);
  }
  // All may have got through before the kill: then the next call tells.
  while (status == TW_OK) status = tw_barrier(comm, nullptr);
  expect_lost(t, s, rank, status);
  _exit(0);
}

[[noreturn]] void run_rank(const Trial& t, Shared& s, int rank, const tw_unique_id_t& id) {
  alarm(100);
  if (t.phase == Phase::kBootstrap) bootstrap(t, s, rank, id);
  if (is_fused(t.phase)) {
    setenv("TW_FUSED", "always", 1);
    setenv("TW_FUSED_PATH", t.late ? "one_shot" : "via_owner", 1);
  }
  tw_comm_t comm;
  tw_status_t status = tw_comm_create(t.n, rank, &id, nullptr, &comm);
  if (status != TW_OK) complain(s, rank, "tw_comm_create", status);
  Buffers b;
  b.count = bytes_of(t.phase) / sizeof(float);
  if (t.own_memory) {
    b.own.resize(b.count);
    b.data = b.own.data();
  } else if (tw_window_create(comm, bytes_of(t.phase), &b.window) != TW_OK ||
             tw_window_ptr(b.window, rank, reinterpret_cast<void**>(&b.data)) != TW_OK) {
    complain(s, rank, "tw_window_create", TW_OK);
  }
  if ((status = tw_barrier(comm, nullptr)) != TW_OK) complain(s, rank, "tw_barrier", status);
  enter(t, s, rank);
  for (int number = 1; status == TW_OK; ++number) {
    s.inside[rank].store(number);
    status = call(t, rank, comm, b);
    s.inside[rank].store(0);
  }
  expect_lost(t, s, rank, status);
  expect_shrink_works(t, s, rank, comm);
  if (b.window != nullptr) b.more.push_back(b.window);
  for (tw_window_t window : b.more)
    if (tw_window_destroy(window) != TW_OK) complain(s, rank, "tw_window_destroy", TW_OK);
  if (tw_comm_destroy(comm) != TW_OK) complain(s, rank, "tw_comm_destroy", TW_OK);
  _exit(0);
}

/// Kills the victim. True when it died inside a call, and a survivor was inside one from before the
/// kill until after it.
bool kill_victim(const Trial& t, Shared& s, pid_t pid) {
  int before[kMaxRanks];
  for (int rank = 0; rank < t.n; ++rank) before[rank] = s.inside[rank].load();
  s.killed_at.store(now_us());
  kill(pid, SIGKILL);
  bool pending = false;
  for (int rank = 0; rank < t.n; ++rank)
    pending |= rank != t.victim && before[rank] != 0 && s.inside[rank].load() == before[rank];
  int status;
  waitpid(pid, &status, 0);
  return WIFSIGNALED(status) && s.inside[t.victim].load() != 0 && pending;
}

/// True when the trial counts. Reports what survivors complain of.
bool run_trial(const Trial& t) {
  const InSharedMemory<Shared> shared;
  const Root root;
  std::vector<pid_t> ranks;
  for (int rank = 0; rank < t.n; ++rank) {
    const pid_t pid = fork();
    if (pid == 0) run_rank(t, *shared, rank, root.id());
    ranks.push_back(pid);
  }
  const int64_t limit = now_us() + 60'000'000;
  const auto started = [&] {
    if (shared->inside[t.victim].load() == 0) return false;
    return t.late ? shared->inside[t.early()].load() != 0 : shared->ready.load() == t.n;
  };
  while (!started() && now_us() < limit) sleep_us(50);
  sleep_us(t.delay_us);
  const bool hit = kill_victim(t, *shared, ranks[static_cast<size_t>(t.victim)]);
  for (int rank = 0; rank < t.n; ++rank) {
    if (rank == t.victim) continue;
    int status;
    waitpid(ranks[static_cast<size_t>(rank)], &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
        << t.text() << ": rank " << rank << " ended with " << status << ": " << shared->complaint;
  }
  EXPECT_LT(shared->longest_us.load(), 1'000'000) << t.text();
  return hit && shared->unheard.load() == 0;
}

/// Ranks that the phase may have: 8, or as many as half of the free memory has room for.
int most_ranks(Phase phase) {
  std::ifstream file("/proc/meminfo");
  std::string name, unit;
  for (size_t kib; file >> name >> kib; std::getline(file, unit))
    if (name == "MemAvailable:")
      return static_cast<int>(std::clamp<size_t>(kib / 2 * 1024 / bytes_of(phase), 2, kMaxRanks));
  return 2;
}

/// The phase's calls, or a row of them, take about as long.
unsigned longest_delay_us(Phase phase) {
  if (phase == Phase::kWindowCreate) return 2'000;
  if (phase == Phase::kAllReduce16M) return 20'000;
  return phase == Phase::kAllReduce256M ? 200'000 : 5'000;
}

/// `wanted` kills that hit something pending.
void kill_in(Phase phase, int wanted) {
  std::mt19937 random(static_cast<unsigned>(phase) + 1);
  const int most = most_ranks(phase);
  const bool has_private = phase == Phase::kSmallAllReduce || phase == Phase::kAllReduce16M;
  int hits = 0, trials = 0;
  for (; hits < wanted && trials < 4 * wanted + 10; ++trials) {
    Trial t = {};
    t.phase = phase;
    t.n = 2 + static_cast<int>(random() % static_cast<unsigned>(most - 1));
    t.victim = static_cast<int>(random() % static_cast<unsigned>(t.n));
    // With two ranks the only survivor that could wait with the victim would end the wait.
    t.late = trials % 2 == 0 && t.n > 2 && phase != Phase::kBootstrap;
    t.own_memory = has_private && trials / 2 % 2 == 0;
    t.grows = phase == Phase::kWindowCreate && !t.late;
    t.delay_us = static_cast<int64_t>(random() % longest_delay_us(phase));
    hits += run_trial(t) ? 1 : 0;
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GE(hits, wanted) << kNames[static_cast<int>(phase)] << ": " << trials
                          << " kills, too few hit the victim and a survivor inside the call";
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
TEST(Failure, KillDuringAllGatherGemm) { kill_in(Phase::kAllGatherGemm, kills_per_phase()); }
TEST(Failure, KillDuringGemmReduceScatter) {
  kill_in(Phase::kGemmReduceScatter, kills_per_phase());
}
TEST(Failure, KillDuringGemmAllReduce) { kill_in(Phase::kGemmAllReduce, kills_per_phase()); }
TEST(Failure, KillDuringGemmAllToAll) { kill_in(Phase::kGemmAllToAll, kills_per_phase()); }
TEST(Failure, KillDuringAllReduceNorm) { kill_in(Phase::kAllReduceNorm, kills_per_phase()); }

}  // namespace
}  // namespace tw::test
