// The calls of the GEMM family as programs make them: values by every way, memory, streams, what is
// refused and what does not match.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "tests/runner/ranks.h"
#include "tests/support/gemm_call.h"
#include "tilewire/tile_device.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace tw::test {
namespace {

/// Runs a problem on all ranks, `times` times, and checks the values.
void run_problem(const ThreadRanks& ranks, const GemmProblem& problem, int times = 1) {
  ranks.run([&](int rank, tw_comm_t comm) {
    GemmOperands operands(problem, rank, ranks.size());
    if (problem.packed) {
      ASSERT_EQ(operands.pack(comm), TW_OK) << tw_last_error();
    }
    const tw_gemm_args_t args = operands.args();
    for (int i = 0; i < times; ++i) {
      operands.poison();
      ASSERT_EQ(call_gemm(problem.entry, &args, comm, nullptr), TW_OK)
          << tw_last_error() << " m " << problem.m << " n " << problem.n << " k " << problem.k;
      ASSERT_EQ(operands.check(), "");
    }
  });
}

/// Problems that use every part of an op.
std::vector<GemmProblem> problems_of(GemmEntry entry) {
  std::vector<GemmProblem> all;
  GemmProblem p;
  p.entry = entry;
  const bool norm_only = entry == GemmEntry::kNorm;
  p.norm = norm_only;
  all.push_back(p);
  p.m = 67;
  p.n = 130;
  p.k = 33;
  p.gap = 3;
  p.max_blocks = 1;
  all.push_back(p);
  p.max_blocks = 0;
  p.out_type = TW_BF16;
  p.residual = entry != GemmEntry::kAllToAll;
  if (!norm_only) {
    p.bias = true;
    p.activation = TW_SILU;
    p.a_transposed = p.b_transposed = true;
  }
  all.push_back(p);
  p.in_place = p.residual;
  p.out_type = TW_FP16;
  p.type = TW_FP16;
  p.gathered = entry == GemmEntry::kAllGather;
  p.norm = entry == GemmEntry::kAllReduce || entry == GemmEntry::kGemm || norm_only;
  p.activation = TW_ACTIVATION_NONE;
  if (entry == GemmEntry::kReduceScatter || entry == GemmEntry::kAllReduce)
    p.partial_type = TW_FP32;
  if (!norm_only) p.packed = true, p.b_transposed = false;
  all.push_back(p);
  p.hidden = p.norm;
  p.a_transposed = false;
  p.m = 600;
  p.in_place = false;
  all.push_back(p);
  p.m = 1;
  all.push_back(p);
  p.k = 0;
  all.push_back(p);
  p.m = 0;
  all.push_back(p);
  if (entry == GemmEntry::kGemm || entry == GemmEntry::kAllGather) {
    p = GemmProblem{};
    p.entry = entry;
    p.m = 20;
    p.n = 70;
    p.bias = true;
    p.activation = TW_SWIGLU;
    all.push_back(p);
    p.packed = true;
    all.push_back(p);
  }
  return all;
}

/// The bytes of all ranks' results of all problems, run in an environment.
std::vector<std::string> results_of(int n, const char* variable, const char* value) {
  const ScopedEnv env(variable, value);
  const ThreadRanks ranks(n);
  std::vector<std::string> all;
  for (const GemmEntry entry : kGemmEntries)
    for (const GemmProblem& problem : problems_of(entry)) {
      const size_t first = all.size();
      all.resize(first + static_cast<size_t>(n));
      ranks.run([&](int rank, tw_comm_t comm) {
        GemmOperands operands(problem, rank, n);
        if (problem.packed) {
          ASSERT_EQ(operands.pack(comm), TW_OK) << tw_last_error();
        }
        const tw_gemm_args_t args = operands.args();
        ASSERT_EQ(call_gemm(entry, &args, comm, nullptr), TW_OK) << tw_last_error();
        all[first + static_cast<size_t>(rank)] = operands.bytes();
      });
    }
  return all;
}

class Values : public testing::TestWithParam<int> {};

TEST_P(Values, OfEveryOp) {
  for (const char* path : {"one_shot", "via_owner"}) {
    const ScopedEnv env("TW_FUSED_PATH", path);
    const ThreadRanks ranks(GetParam());
    for (const GemmEntry entry : kGemmEntries)
      for (const GemmProblem& problem : problems_of(entry)) run_problem(ranks, problem, 3);
  }
}

TEST_P(Values, ByTheirParts) {
  const ScopedEnv env("TW_FUSED", "never");
  const ThreadRanks ranks(GetParam());
  for (const GemmEntry entry : kGemmEntries)
    for (const GemmProblem& problem : problems_of(entry)) run_problem(ranks, problem, 2);
}

/// Activations make bits that no reference has: every way must have the same.
TEST_P(Values, SameBitsByEveryWay) {
  const std::vector<std::string> fused = results_of(GetParam(), "TW_FUSED", "always");
  EXPECT_EQ(fused, results_of(GetParam(), "TW_FUSED", "never"));
  EXPECT_EQ(fused, results_of(GetParam(), "TW_FUSED_PATH", "one_shot"));
  EXPECT_EQ(fused, results_of(GetParam(), "TW_FUSED_PATH", "via_owner"));
}

/// Windows on some ranks, private memory on others: results arrive all the same.
TEST_P(Values, InWindowsOfSomeRanks) {
  const ScopedEnv env("TW_FUSED_PATH", "via_owner");
  const ThreadRanks ranks(GetParam());
  for (const GemmEntry entry : kGemmEntries) {
    const GemmProblem problem = problems_of(entry).at(4);
    ranks.run([&](int rank, tw_comm_t comm) {
      GemmOperands operands(problem, rank, ranks.size());
      tw_window_t window = nullptr;
      ASSERT_EQ(tw_window_create(comm, 2 * operands.result_bytes() + 64, &window), TW_OK)
          << tw_last_error();
      void* at = nullptr;
      ASSERT_EQ(tw_window_ptr(window, rank, &at), TW_OK);
      char* const c = static_cast<char*>(at) + 2;
      // The last rank's C lies in its window, its hidden does not.
      if (rank % 2 == 0) operands.place_results(c, c + operands.result_bytes());
      if (rank == ranks.size() - 1) operands.place_results(c, nullptr);
      if (problem.packed) {
        ASSERT_EQ(operands.pack(comm), TW_OK) << tw_last_error();
      }
      const tw_gemm_args_t args = operands.args();
      for (int i = 0; i < 2; ++i) {
        operands.poison();
        ASSERT_EQ(call_gemm(entry, &args, comm, nullptr), TW_OK) << tw_last_error();
        ASSERT_EQ(operands.check(), "");
      }
      EXPECT_EQ(tw_window_destroy(window), TW_OK) << tw_last_error();
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, Values, testing::Values(1, 2, 3, 5));

GemmProblem all_reduce_of(size_t m, size_t n, size_t k) {
  GemmProblem p;
  p.m = m;
  p.n = n;
  p.k = k;
  return p;
}

bool says(const std::string& text) {
  return std::string(tw_last_error()).find(text) != std::string::npos;
}

/// Calls of every kind in one queue, the arrays of shards gone before they run.
TEST(FusedCall, OnStreams) {
  const ThreadRanks ranks(2);
  ranks.run([](int rank, tw_comm_t comm) {
    tw_stream_t streams[2];
    for (tw_stream_t& stream : streams) ASSERT_EQ(tw_stream_create(nullptr, &stream), TW_OK);
    std::vector<GemmOperands> operands;
    operands.reserve(64);
    for (int i = 0; i < 4; ++i)
      for (const GemmEntry entry : kGemmEntries) {
        GemmProblem p;
        p.entry = entry;
        p.norm = entry == GemmEntry::kNorm;
        p.m = 5 + 40 * static_cast<size_t>(i);  // scratch and workspace grow under queued calls
        p.n = 40 * static_cast<size_t>(i + 1);
        if (entry == GemmEntry::kAllToAll) p.rows = {p.m - 2, 2};
        const GemmOperands& o = operands.emplace_back(p, rank, 2);
        tw_gemm_args_t args = o.args();
        std::vector<size_t> rows = p.rows;
        if (!rows.empty()) args.rows = rows.data();
        ASSERT_EQ(call_gemm(entry, &args, comm, streams[i % 2]), TW_OK) << tw_last_error();
        rows.assign(rows.size(), SIZE_MAX);
        float x = 1, sum = 0;
        ASSERT_EQ(tw_all_reduce(&x, &sum, 1, TW_FP32, TW_SUM, comm, nullptr), TW_OK)
            << tw_last_error();
        EXPECT_EQ(sum, 2);
      }
    for (tw_stream_t stream : streams)
      ASSERT_EQ(tw_stream_synchronize(stream), TW_OK) << tw_last_error();
    for (const GemmOperands& o : operands) EXPECT_EQ(o.check(), "");
    for (tw_stream_t stream : streams) EXPECT_EQ(tw_stream_destroy(stream), TW_OK);
  });
}

/// One rank's queue and the operands of what is in it.
struct Driven {
  Driven() { EXPECT_EQ(tw_stream_create(nullptr, &stream), TW_OK); }
  Driven(const Driven&) = delete;
  Driven& operator=(const Driven&) = delete;
  ~Driven() { EXPECT_EQ(tw_stream_destroy(stream), TW_OK) << tw_last_error(); }
  tw_stream_t stream = nullptr;
  std::deque<GemmOperands> operands;
};

/// Calls of every op and, between them, local ones: workspace, scratch, rows and temporaries grow,
/// twice and more, under what is queued.
std::vector<GemmProblem> growing_problems() {
  std::vector<GemmProblem> all;
  for (const size_t size : {1, 16, 20})
    for (const GemmEntry entry : kGemmEntries) {
      GemmProblem p;
      p.entry = entry;
      p.norm = entry == GemmEntry::kNorm || entry == GemmEntry::kAllReduce;
      p.m = 9 * size;
      p.n = 60 * size;
      p.k = size / 2 + 5;
      p.a_transposed = entry == GemmEntry::kAllGather;
      p.residual = entry == GemmEntry::kReduceScatter;
      p.gap = size % 2 * 3;
      all.push_back(p);
    }
  return all;
}

TEST(FusedCall, OneThreadDrivesAllRanksOnStreams) {
  for (const char* how : {"always", "never"}) {
    const ScopedEnv env("TW_FUSED", how);
    constexpr int kRanks = 3;
    const ThreadRanks ranks(kRanks);
    Driven driven[kRanks];
    std::set<size_t> workspaces;
    for (const GemmProblem& problem : growing_problems())
      for (int rank = 0; rank < kRanks; ++rank) {
        Driven& d = driven[rank];
        const tw_gemm_args_t args = d.operands.emplace_back(problem, rank, kRanks).args();
        ASSERT_EQ(call_gemm(problem.entry, &args, ranks.comm(rank), d.stream), TW_OK)
            << how << ": " << tw_last_error();
        size_t bytes = 0;
        if (problem.entry == GemmEntry::kAllReduce) {
          EXPECT_EQ(tw_fused_workspace(TW_GEMM_ALL_REDUCE, &args, ranks.comm(rank), &bytes), TW_OK);
        }
        workspaces.insert(bytes);
      }
    EXPECT_EQ(workspaces.size(), how[0] == 'a' ? 4U : 1U);  // none, and three that grow
    for (const Driven& d : driven) {
      ASSERT_EQ(tw_stream_synchronize(d.stream), TW_OK) << how << ": " << tw_last_error();
      for (const GemmOperands& o : d.operands) EXPECT_EQ(o.check(), "") << how;
    }
  }
}

/// Growing that is queued, and control calls of the caller's thread before and after it: the order
/// is that of the calls, whichever thread is faster.
TEST(FusedCall, ControlCallsBesideQueuedGrowth) {
  const ScopedEnv env("TW_FUSED", "always");
  const ThreadRanks ranks(3);
  ranks.run([](int rank, tw_comm_t comm) {
    Driven d;
    for (size_t i = 1; i <= 6; ++i) {
      tw_window_t window = nullptr;
      if (i % 2 == 0) {
        ASSERT_EQ(tw_window_create(comm, 5000 * i, &window), TW_OK) << tw_last_error();
      }
      const tw_gemm_args_t args =
          d.operands.emplace_back(all_reduce_of(40 * i, 300 * i, 5), rank, 3).args();
      ASSERT_EQ(tw_gemm_all_reduce(&args, comm, d.stream), TW_OK) << tw_last_error();
      if (window != nullptr) {
        EXPECT_EQ(tw_window_destroy(window), TW_OK) << tw_last_error();
        continue;
      }
      tw_signals_t signals = nullptr;
      tw_tiles_t tiles = nullptr;
      const tw_tiles_config_t config = TW_TILES_CONFIG_INIT;
      ASSERT_EQ(tw_signals_create(comm, i, &signals), TW_OK) << tw_last_error();
      if (i == 3) {
        ASSERT_EQ(tw_workspace_reserve(comm, size_t{8} << 20), TW_OK) << tw_last_error();
      }
      ASSERT_EQ(tw_gemm_all_reduce(&args, comm, i == 5 ? nullptr : d.stream), TW_OK);
      ASSERT_EQ(tw_tiles_create(comm, &config, &tiles), TW_OK) << tw_last_error();
      EXPECT_EQ(tw_tiles_destroy(tiles), TW_OK) << tw_last_error();
      EXPECT_EQ(tw_signals_destroy(signals), TW_OK) << tw_last_error();
    }
    ASSERT_EQ(tw_stream_synchronize(d.stream), TW_OK) << tw_last_error();
    for (const GemmOperands& o : d.operands) EXPECT_EQ(o.check(), "");
  });
}

#if defined(__x86_64__)
/// Values that flushing denormals, and rounding towards zero, change.
std::vector<float> results_of_small_values(int rank, tw_comm_t comm) {
  constexpr size_t kSize = 48;
  std::vector<float> a(kSize * kSize), b = a, c = a, sums = a;
  for (size_t i = 0; i < a.size(); ++i) {
    a[i] = i % 3 == 0 ? 1e-20F : i % 3 == 1 ? 1e-40F : 1.0F;
    b[i] = i % 2 == 0 ? 3e-20F : 1.0F + 0x1p-23F * static_cast<float>(i + rank);
  }
  tw_gemm_args_t args = TW_GEMM_ARGS_INIT;
  args.m = args.n = args.k = kSize;
  args.type = args.out_type = TW_FP32;
  args.a = a.data();
  args.b = b.data();
  args.c = c.data();
  tw_stream_t stream;
  EXPECT_EQ(tw_stream_create(nullptr, &stream), TW_OK);
  std::vector<float> all;
  for (const tw_stream_t where : {tw_stream_t{nullptr}, stream}) {
    EXPECT_EQ(tw_gemm(&args, comm, where), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_stream_synchronize(stream), TW_OK);
    all.insert(all.end(), c.begin(), c.end());
    EXPECT_EQ(tw_gemm_all_reduce(&args, comm, where), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_stream_synchronize(stream), TW_OK);
    all.insert(all.end(), c.begin(), c.end());
    for (const std::vector<float>& from : {a, b})
      for (const size_t count : {size_t{5}, kSize * kSize}) {
        std::fill(sums.begin(), sums.end(), 0.0F);
        EXPECT_EQ(tw_all_reduce(from.data(), sums.data(), count, TW_FP32, TW_SUM, comm, where),
                  TW_OK);
        EXPECT_EQ(tw_stream_synchronize(stream), TW_OK);
        all.insert(all.end(), sums.begin(), sums.end());
      }
  }
  EXPECT_EQ(tw_stream_destroy(stream), TW_OK);
  return all;
}

TEST(FusedCall, TheCallersFloatingPointModeIsItsOwn) {
  constexpr unsigned kUsual = 0x1f80, kFlushTowardsZero = 0x8000 | 0x6000 | 0x0040 | kUsual;
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  std::vector<float> usual[2];
  for (const int workers : {1, 2})
    for (const unsigned mode : {kUsual, kFlushTowardsZero}) {
      config.workers = workers;
      const ThreadRanks ranks(2, &config);
      ranks.run([&](int rank, tw_comm_t comm) {
        _mm_setcsr(mode);
        const std::vector<float> results = results_of_small_values(rank, comm);
        EXPECT_EQ(_mm_getcsr() & ~0x3fU, mode);
        _mm_setcsr(kUsual);
        if (mode == kUsual) usual[rank] = results;
        EXPECT_EQ(std::memcmp(results.data(), usual[rank].data(), 4 * results.size()), 0);
      });
    }
}
#endif

TEST(FusedCall, NotInGroups) {
  const ThreadRanks ranks(2);
  ranks.run([](int rank, tw_comm_t comm) {
    const GemmOperands operands(all_reduce_of(5, 40, 24), rank, 2);
    const tw_gemm_args_t args = operands.args();
    ASSERT_EQ(tw_group_begin(), TW_OK);
    EXPECT_EQ(tw_gemm_all_reduce(&args, comm, nullptr), TW_ERROR_INVALID_STATE);
    EXPECT_TRUE(says("tw_group_begin")) << tw_last_error();
    EXPECT_EQ(tw_group_end(), TW_ERROR_INVALID_STATE);
    EXPECT_EQ(tw_gemm_all_reduce(&args, comm, nullptr), TW_OK) << tw_last_error();
    EXPECT_EQ(operands.check(), "");
  });
}

/// Ranks that make different calls all learn which.
void expect_mismatch(const std::string& text,
                     const std::function<tw_status_t(int rank, tw_comm_t comm)>& call) {
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    EXPECT_EQ(call(rank, comm), TW_ERROR_MISMATCH) << tw_last_error();
    EXPECT_TRUE(says(text)) << "no \"" << text << "\" in: " << tw_last_error();
  });
}

tw_status_t run_one(const GemmProblem& problem, int rank, tw_comm_t comm) {
  const GemmOperands operands(problem, rank, 2);
  const tw_gemm_args_t args = operands.args();
  return call_gemm(problem.entry, &args, comm, nullptr);
}

TEST(FusedMismatch, Sizes) {
  expect_mismatch("gemm_all_reduce(m 6, n 40, k 24, TW_BF16)", [](int rank, tw_comm_t comm) {
    return run_one(all_reduce_of(rank == 0 ? 5 : 6, 40, 24), rank, comm);
  });
}

TEST(FusedMismatch, OneNeedsMoreWorkspace) {
  expect_mismatch("gemm_all_reduce(m 600, n 2000, k 2, TW_BF16)", [](int rank, tw_comm_t comm) {
    const tw_status_t first = run_one(all_reduce_of(5, 40, 24), rank, comm);
    if (first != TW_OK) return first;
    return rank == 0 ? run_one(all_reduce_of(5, 40, 24), rank, comm)
                     : run_one(all_reduce_of(600, 2000, 2), rank, comm);
  });
}

TEST(FusedMismatch, Options) {
  const struct {
    const char* said;
    std::function<void(GemmProblem&)> make;
  } changes[] = {
      {"TW_BF16; bias given)", [](GemmProblem& p) { p.bias = true; }},
      {"TW_BF16; norm_weight given", [](GemmProblem& p) { p.norm = true; }},
      {"TW_BF16; activation 1)", [](GemmProblem& p) { p.activation = TW_GELU; }},
      {"TW_BF16; out_type TW_BF16", [](GemmProblem& p) { p.out_type = TW_BF16; }},
      {"k 24, TW_FP16)", [](GemmProblem& p) { p.type = TW_FP16; }},
      {"TW_BF16; out_type TW_BF16)",
       [](GemmProblem& p) { p.out_type = TW_BF16, p.partial_type = TW_FP32; }},
      {"TW_BF16; residual given)", [](GemmProblem& p) { p.residual = true; }},
  };
  for (const auto& change : changes)
    for (const char* how : {"always", "never"}) {
      const ScopedEnv env("TW_FUSED", how);
      expect_mismatch(change.said, [&](int rank, tw_comm_t comm) {
        GemmProblem problem = all_reduce_of(5, 40, 24);
        if (rank == 1) change.make(problem);
        return run_one(problem, rank, comm);
      });
    }
}

TEST(FusedMismatch, Ops) {
  expect_mismatch("gemm_all_to_all(", [](int rank, tw_comm_t comm) {
    GemmProblem problem = all_reduce_of(5, 40, 24);
    if (rank == 1) problem.entry = GemmEntry::kAllToAll;
    return run_one(problem, rank, comm);
  });
}

TEST(FusedMismatch, PlainCollective) {
  expect_mismatch("all_reduce(count 64, TW_FP32, TW_SUM)", [](int rank, tw_comm_t comm) {
    if (rank == 0) return run_one(all_reduce_of(5, 40, 24), rank, comm);
    float send[64] = {}, recv[64];
    return tw_all_reduce(send, recv, 64, TW_FP32, TW_SUM, comm, nullptr);
  });
}

TEST(FusedMismatch, Rows) {
  expect_mismatch(
      "gemm_reduce_scatter(m 5, n 40, k 24, TW_BF16; rows 3 2)", [](int rank, tw_comm_t comm) {
        GemmProblem problem = all_reduce_of(5, 40, 24);
        problem.entry = GemmEntry::kReduceScatter;
        problem.rows = rank == 0 ? std::vector<size_t>{2, 3} : std::vector<size_t>{3, 2};
        return run_one(problem, rank, comm);
      });
}

/// k may differ where products are added.
TEST(FusedCall, UnevenK) {
  const ThreadRanks ranks(2);
  ranks.run([](int rank, tw_comm_t comm) {
    GemmProblem problem = all_reduce_of(5, 40, rank == 0 ? 0 : 300);
    EXPECT_EQ(run_one(problem, rank, comm), TW_OK) << tw_last_error();
    problem.entry = GemmEntry::kReduceScatter;
    EXPECT_EQ(run_one(problem, rank, comm), TW_OK) << tw_last_error();
  });
}

size_t memory_of(tw_comm_t comm) {
  size_t bytes = 0;
  EXPECT_EQ(tw_comm_memory(comm, &bytes), TW_OK);
  return bytes;
}

/// What a comm of two ranks holds after one call, which grows the workspace by itself.
size_t memory_after(const GemmProblem& problem) {
  std::atomic<size_t> bytes{0};
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    ASSERT_EQ(run_one(problem, rank, comm), TW_OK) << tw_last_error();
    bytes = memory_of(comm);
  });
  return bytes;
}

TEST(Workspace, GrowsOnceAndIsCounted) {
  const ScopedEnv env("TW_FUSED", "always");
  const GemmProblem large = all_reduce_of(300, 2000, 8);
  const size_t by_itself = memory_after(large);
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    const GemmOperands operands(large, rank, 2);
    const tw_gemm_args_t args = operands.args();
    size_t bytes = 0;
    ASSERT_EQ(tw_fused_workspace(TW_GEMM_ALL_REDUCE, &args, comm, &bytes), TW_OK);
    EXPECT_GT(bytes, 300 * 2000 * sizeof(float));
    const size_t before = memory_of(comm);
    ASSERT_EQ(tw_workspace_reserve(comm, bytes), TW_OK) << tw_last_error();
    EXPECT_EQ(memory_of(comm), before + bytes);
    ASSERT_EQ(tw_workspace_reserve(comm, 4096), TW_OK) << tw_last_error();
    EXPECT_EQ(memory_of(comm), before + bytes);
    ASSERT_EQ(run_one(all_reduce_of(5, 40, 8), rank, comm), TW_OK) << tw_last_error();
    EXPECT_GT(memory_of(comm), before + bytes);  // scratch
    for (int i = 0; i < 3; ++i)
      ASSERT_EQ(tw_gemm_all_reduce(&args, comm, nullptr), TW_OK) << tw_last_error();
    EXPECT_EQ(operands.check(), "");
    EXPECT_EQ(memory_of(comm), by_itself);  // what was reserved is what the call needs
    // What peers have left in it is nothing to another division of the same memory.
    ASSERT_EQ(tw_workspace_reserve(comm, 8 * bytes), TW_OK) << tw_last_error();
    EXPECT_EQ(memory_of(comm), by_itself + 7 * bytes);
    ASSERT_EQ(tw_gemm_all_reduce(&args, comm, nullptr), TW_OK) << tw_last_error();
    EXPECT_EQ(operands.check(), "");
  });
}

TEST(Workspace, ReservedAlike) {
  const ThreadRanks ranks(2);
  ranks.run([](int rank, tw_comm_t comm) {
    EXPECT_EQ(tw_workspace_reserve(comm, rank == 0 ? 4096 : 8192), TW_ERROR_MISMATCH);
    EXPECT_TRUE(says("8192")) << tw_last_error();
  });
}

TEST(Workspace, ReservesWithinRange) {
  const ThreadRanks ranks(1);
  EXPECT_EQ(tw_workspace_reserve(ranks.comm(0), SIZE_MAX), TW_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(says("bytes = 18446744073709551615; valid: 0 to 1099511627776")) << tw_last_error();
  EXPECT_EQ(tw_workspace_reserve(ranks.comm(0), 0), TW_OK) << tw_last_error();
}

TEST(Workspace, WithinTheCap) {
  for (const char* how : {"always", "never"}) {
    const ScopedEnv env("TW_FUSED", how);
    tw_comm_config_t config = TW_COMM_CONFIG_INIT;
    config.max_memory = size_t{24} << 20;
    const ThreadRanks ranks(2, &config);
    ranks.run([&](int rank, tw_comm_t comm) {
      EXPECT_EQ(run_one(all_reduce_of(500, 10000, 2), rank, comm), TW_ERROR_OUT_OF_RESOURCES);
      EXPECT_TRUE(says(std::to_string(config.max_memory))) << tw_last_error();
      EXPECT_EQ(tw_workspace_reserve(comm, config.max_memory), TW_ERROR_OUT_OF_RESOURCES);
      EXPECT_EQ(run_one(all_reduce_of(20, 300, 24), rank, comm), TW_OK) << tw_last_error();
      EXPECT_LE(memory_of(comm), config.max_memory);
    });
  }
}

/// The cap is held against what any rank's launch needs, not against the blocks that one asks for.
TEST(Workspace, TheCapRefusesAllRanksAlike) {
  const ScopedEnv env("TW_FUSED", "always");
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.max_memory = size_t{20} << 20;
  config.workers = 4;
  config.timeout_ms = 5000;  // for a rank that is not refused and waits for the other
  const ThreadRanks ranks(2, &config);
  ranks.run([&](int rank, tw_comm_t comm) {
    GemmProblem problem = all_reduce_of(600, 600, 64);
    problem.max_blocks = rank == 0 ? 1 : 0;
    EXPECT_EQ(run_one(problem, rank, comm), TW_ERROR_OUT_OF_RESOURCES) << tw_last_error();
  });
}

/// Staging for columns that one rank has more of than the other, beyond the least workspace.
TEST(Workspace, SharesAreUneven) {
  const ScopedEnv env("TW_FUSED", "always");
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    GemmProblem problem = all_reduce_of(400, 2000, 8);
    problem.entry = GemmEntry::kAllToAll;
    problem.cols = {1500, 500};
    const GemmOperands operands(problem, rank, 2);
    const tw_gemm_args_t args = operands.args();
    EXPECT_EQ(tw_gemm_all_to_all(&args, comm, nullptr), TW_OK) << tw_last_error();
    EXPECT_EQ(operands.check(), "");
  });
}

/// What calls leave behind counts as well: memory that one needs and memory that another needs
/// need not fit together.
TEST(Workspace, WhatIsKeptIsWithinTheCap) {
  const ScopedEnv env("TW_FUSED", "never");
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.max_memory = size_t{24} << 20;
  config.max_blocks = 1;
  const ThreadRanks ranks(2, &config);
  ranks.run([&](int rank, tw_comm_t comm) {
    const size_t room = config.max_memory - memory_of(comm) - (size_t{4} << 20);
    const size_t floats = room / 4 / sizeof(float) * 3;
    GemmProblem normed = all_reduce_of(1, floats, 1);
    normed.entry = GemmEntry::kGemm;
    normed.norm = true;
    const GemmProblem problems[] = {all_reduce_of(50, floats / 50, 2), normed};
    GemmOperands operands[] = {{problems[0], rank, 2}, {problems[1], rank, 2}};
    for (const int i : {0, 1, 0, 1}) {
      operands[i].poison();
      const tw_gemm_args_t args = operands[i].args();
      ASSERT_EQ(call_gemm(problems[i].entry, &args, comm, nullptr), TW_OK) << tw_last_error();
      EXPECT_EQ(operands[i].check(), "");
      EXPECT_LE(memory_of(comm), config.max_memory);
    }
  });
}

TEST(TileSets, LiveAndDie) {
  const ThreadRanks ranks(2);
  ranks.run([](int, tw_comm_t comm) {
    tw_tiles_config_t config = TW_TILES_CONFIG_INIT;
    config.bytes = 10000;
    config.slots = 7;
    config.k = 64;
    tw_tiles_t tiles = nullptr;
    ASSERT_EQ(tw_tiles_create(comm, &config, &tiles), TW_OK) << tw_last_error();
    tw_tile_view view;
    ASSERT_EQ(tw_tiles_get_view(tiles, &view), TW_OK) << tw_last_error();
    EXPECT_GE(view.layout.end - view.layout.data, config.bytes);
    EXPECT_GE(view.layout.slots, config.slots);
    EXPECT_EQ(view.record.call, kNoCall);
    EXPECT_EQ(tw_comm_destroy(comm), TW_ERROR_INVALID_STATE);
    EXPECT_TRUE(says("tile set")) << tw_last_error();
    EXPECT_EQ(tw_tiles_destroy(tiles), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_tiles_destroy(tiles), TW_ERROR_INVALID_HANDLE);
  });
}

TEST(TileSets, MadeAlike) {
  const ThreadRanks ranks(2);
  ranks.run([](int rank, tw_comm_t comm) {
    tw_tiles_config_t config = TW_TILES_CONFIG_INIT;
    config.slots = static_cast<size_t>(rank) + 1;
    tw_tiles_t tiles = nullptr;
    EXPECT_EQ(tw_tiles_create(comm, &config, &tiles), TW_ERROR_MISMATCH);
    EXPECT_TRUE(says("rank 1 for 0 and 2")) << tw_last_error();
    float x = 1, sum = 0;  // the comm goes on
    EXPECT_EQ(tw_all_reduce(&x, &sum, 1, TW_FP32, TW_SUM, comm, nullptr), TW_OK);
  });
}

}  // namespace
}  // namespace tw::test
