// Tile kernels on thread ranks over memory laid out by hand, without the library's host side: the
// case table by every target that this machine runs, with launches that follow one another on the
// same signals and the same never cleared memory. Under ThreadSanitizer this checks the protocols'
// memory order. Of the triples of case, target and way to run, `make check` takes one in two or
// three, such that every case meets every target and every way, and every target every way;
// `make check-long` takes all.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/support/gemm_kernels.h"

namespace tw::test {
namespace {

constexpr int kLaunches = 3;

/// Worked out once for all targets and ways to run.
using Works = std::vector<GemmWork>;
Works work_out(const std::vector<GemmCase>& cases, int ranks) {
  Works works;
  uint64_t seed = 1;
  for (const GemmCase& c : cases)
    for (int launch = 0; launch < kLaunches; ++launch)
      works.emplace_back(c, is_local(c.op) ? 1 : ranks, ++seed);
  return works;
}

/// Whether case `i` is among those of turn `turn`: one in `parts`, in no step with what the case
/// table varies, and in `parts` turns that follow one another each case once.
bool takes(size_t i, size_t turn, size_t parts) {
  const uint64_t mixed = (i + 1) * UINT64_C(0x9E3779B97F4A7C15) >> 32;
  return (mixed + turn) % parts == 0;
}

/// Runs the cases of `turn` one after the other, each kLaunches times with other inputs, as
/// launches of one tile set.
void run(const std::vector<GemmCase>& cases, const Works& works, int ranks, const GemmRun& run,
         const KernelTarget& target, size_t turn = 0, size_t parts = 1) {
  TileWorld world(room_for(cases, ranks, run));
  world.run([&](int rank) {
    for (size_t i = 0; i < cases.size(); ++i) {
      if (!takes(i, turn, parts)) continue;
      GemmRank own(world, cases[i], run, rank);
      for (size_t launch = 0; launch < kLaunches; ++launch) {
        const GemmWork& work = works[i * kLaunches + launch];
        own.prepare(work, (i * kLaunches + launch + 1) * UINT64_C(0x9E3779B97F4A7C15));
        own.launch(target);
        if (world.failure() != TW_OK) return;
        const std::string what = target.name + ", " + cases[i].name(ranks) + ", " + run.name() +
                                 ", launch " + std::to_string(launch);
        if (own.check(work, what)) continue;
        world.stop();
        return;
      }
    }
  });
  EXPECT_EQ(world.failure(), TW_OK) << name_of(cases[0].op) << ", " << run.name();
}

#if defined(TW_SANITIZE_THREAD)
// The protocols are the same for all targets.
std::vector<KernelTarget> targets_here() { return {kernel_targets().front()}; }
constexpr int kRanks[] = {2, 3};
constexpr size_t kParts = 2;
#else
std::vector<KernelTarget> targets_here() { return kernel_targets(); }
constexpr int kRanks[] = {1, 2, 3};
constexpr size_t kParts = 3;
#endif
#if defined(TW_SANITIZE_THREAD) || defined(TW_SANITIZE_ADDRESS)
constexpr int kManyRanks[] = {5, 8};
constexpr size_t kFewParts = 2;
#else
constexpr int kManyRanks[] = {5, 8, 16};
constexpr size_t kFewParts = 1;
#endif

constexpr GemmOp kKernels[] = {
    GemmOp::kGemm,          GemmOp::kAllGatherGemm, GemmOp::kGemmReduceScatter,
    GemmOp::kGemmAllReduce, GemmOp::kGemmAllToAll,  GemmOp::kAllReduceNorm,
    GemmOp::kRowEpilogue};

class GemmKernel : public testing::TestWithParam<GemmOp> {};

/// Ways to run: one after the other where blocks share a thread, all at once where they do not.
std::vector<GemmRun> runs_of(GemmOp op) {
  const bool reduces = op == GemmOp::kGemmAllReduce || op == GemmOp::kAllReduceNorm;
  std::vector<GemmRun> runs(2);
  runs[0].blocks = 1;
  runs[1].blocks = 3;
  runs[1].threads = true;
  runs[1].raster = Raster::kColsOuter;
  runs[1].store = StorePolicy::kNonTemporal;
  runs[1].tile_rows = 32;
  if (op == GemmOp::kAllGatherGemm || op == GemmOp::kGemmReduceScatter ||
      op == GemmOp::kGemmAllReduce)
    for (int i = 0; i < 2; ++i) {
      GemmRun run = runs[static_cast<size_t>(i)];
      run.whole_rows = true;
      if (i == 0) run.tile_rows = 512, run.tile_cols = 256;
      runs.push_back(run);
    }
  if (!reduces) return runs;
  for (int i = 0; i < 2; ++i) {
    runs.push_back(runs[static_cast<size_t>(i)]);
    runs.back().path = ReducePath::kOneShot;
  }
  runs.push_back(runs[1]);
  runs.back().own_cols = true;
  return runs;
}

TEST_P(GemmKernel, Cases) {
  const std::vector<GemmCase> cases = gemm_cases_here(GetParam());
  const std::vector<KernelTarget> targets = targets_here();
  const std::vector<GemmRun> ways = runs_of(GetParam());
  const size_t parts = std::getenv("TW_TEST_LONG") != nullptr ? 1 : std::min(kParts, ways.size());
  size_t turn = 0;
  for (const int ranks : kRanks) {
    if (is_local(GetParam()) && ranks != kRanks[0]) continue;
    const Works works = work_out(cases, ranks);
    // What ranks do to each other is the same for all targets.
    const size_t count = ranks == 2 || is_local(GetParam()) ? targets.size() : 1;
    for (size_t t = 0; t < count; ++t, ++turn)
      for (size_t w = 0; w < ways.size(); ++w) {
        run(cases, works, ranks, ways[w], targets[t], turn + w, parts);
        if (testing::Test::HasFailure()) return;
      }
  }
}

#if !defined(TW_SANITIZE_THREAD)
TEST_P(GemmKernel, OverEmulatedTiles) {
  const std::vector<GemmCase> cases = few_gemm_cases(GetParam());
  run(cases, work_out(cases, 2), 2, runs_of(GetParam()).back(), emulated_amx(), 0, kFewParts);
}
#endif

std::string op_name(const testing::TestParamInfo<GemmOp>& info) { return name_of(info.param); }
INSTANTIATE_TEST_SUITE_P(Ops, GemmKernel, testing::ValuesIn(kKernels), op_name);

class FusedKernel : public GemmKernel {};

TEST_P(FusedKernel, ManyRanks) {
  const std::vector<GemmCase> cases = few_gemm_cases(GetParam());
  size_t turn = 0;
  for (const int ranks : kManyRanks) {
    const Works works = work_out(cases, ranks);
    GemmRun how;
    how.blocks = 2;
    how.path = ranks == 8 ? ReducePath::kOneShot : ReducePath::kViaOwner;
    run(cases, works, ranks, how, kernel_targets().front(), turn++, kFewParts);
    how.path = ReducePath::kViaOwner;
    how.whole_rows = true;
    run(cases, works, ranks, how, kernel_targets().front(), turn, kFewParts);
    if (testing::Test::HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, FusedKernel,
                         testing::Values(GemmOp::kAllGatherGemm, GemmOp::kGemmReduceScatter,
                                         GemmOp::kGemmAllReduce, GemmOp::kGemmAllToAll,
                                         GemmOp::kAllReduceNorm),
                         op_name);

}  // namespace
}  // namespace tw::test
