// The library's own GPU kernels on virtual GPUs: the PTX that nvcc made of them for each target,
// with races looked for. Collectives, GEMM and the fused ops, attention: the CPU tests' cases,
// small and ragged, on 1 to 4 GPUs, against the same references. The tests of Llama ops
// (llama_ops_test.cc, llama_sample_test.cc) are linked in as they are, with GPU targets.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/support/attention_step.h"
#include "tests/support/coll_kernels.h"
#include "tests/support/gemm_kernels.h"
#include "tests/vgpu/entries/gpu_entries.h"
#include "tilewire/kernels/llama.h"

namespace tw::test {
namespace {

bool takes_all() { return std::getenv("TW_TEST_LONG") != nullptr; }

/// Before the driver is loaded. Without kernels all tests are skipped.
class Environment : public testing::Environment {
 public:
  void SetUp() override {
    ::setenv("TW_VGPU_RACES", "on", 0);
    ::setenv("TW_VGPU_ON_REPORT", "exit", 0);
    if (gpu_entries().empty()) GTEST_SKIP() << "no GPU kernels in this build: nvcc was not found";
  }
};
[[maybe_unused]] const auto* const kEnvironment =
    testing::AddGlobalTestEnvironment(new Environment);

// ---- Collectives ----------------------------------------------------------------------------

CollEntries coll_entries(const GpuEntries& of) {
  return [&of](CollOp call) {
    switch (call) {
      case kAllReduce:
        return of.all_reduce;
      case kReduce:
        return of.reduce;
      case kBroadcast:
        return of.broadcast;
      case kReduceScatter:
      case kReduceScatterV:
        return of.reduce_scatter;
      case kAllToAll:
      case kAllToAllV:
        return of.all_to_all;
      case kGather:
        return of.gather;
      case kScatter:
        return of.scatter;
      case kBarrier:
        return of.barrier;
      default:
        return of.all_gather;
    }
  };
}

class VgpuColl : public testing::Test {};

/// One in two for each target, which differ in little.
TEST_F(VgpuColl, EveryOpByEveryAlgorithm) {
  const std::vector<GpuEntries>& targets = gpu_entries();
  uint64_t seed = 1;
  for (size_t t = 0; t < targets.size(); ++t)
    for (const int ranks : {1, 2, 3, 4}) {
      const WorldShape shape = coll_shape(ranks, 1 + ranks % 2);
      std::vector<CollPlan> plans;
      for (uint32_t call = 0; call < kCollectives; ++call)
        for (size_t algo = 0; algo < std::size(kCollAlgos); ++algo) {
          if (!takes_all() && (call + algo + t + ranks / 2) % targets.size() != 0) continue;
          CollPlan plan;
          plan.call = static_cast<CollOp>(call);
          plan.algo = kCollAlgos[algo];
          plan.seed = ++seed;
          plan.memory = static_cast<CollMemory>(seed % 3);
          plan.in_place = seed / 3 % 2 == 1 && can_be_in_place(plan.call);
          plan.type = static_cast<tw_type_t>(seed % 5 + seed % 2);
          plan.root = static_cast<int>(seed % static_cast<uint64_t>(ranks));
          plan.chunk = seed % 4 * 256;
          plan.count = std::min<size_t>(300, most_elements(shape, plan, kGpuFraming));
          if (is_valid(plan.call, plan.algo)) plans.push_back(plan);
        }
      ASSERT_EQ(run_plans(shape, plans, false, coll_entries(targets[t])), TW_OK)
          << targets[t].name << ", " << ranks << " ranks";
      if (HasFatalFailure()) return;
    }
}

TEST_F(VgpuColl, RandomSequences) {
  const int calls = takes_all() ? 400 : 20;
  for (const GpuEntries& target : gpu_entries())
    for (const int ranks : {2, 3, 4}) {
      const WorldShape shape = coll_shape(ranks, 3);
      std::mt19937_64 random(static_cast<uint64_t>(ranks) + target.name.size());
      std::vector<CollPlan> plans;
      for (int i = 0; i < calls; ++i) plans.push_back(random_plan(random, shape, kGpuFraming));
      ASSERT_EQ(run_plans(shape, plans, false, coll_entries(target)), TW_OK)
          << target.name << ", " << ranks << " ranks";
      if (HasFatalFailure()) return;
    }
}

// ---- GEMM and the fused ops -----------------------------------------------------------------

KernelTarget gemm_entries(const GpuEntries& of) {
  return {of.name,
          {of.gemm, of.all_gather_gemm, of.gemm_reduce_scatter, of.gemm_all_reduce,
           of.gemm_all_to_all, of.all_reduce_residual_rms_norm, of.row_epilogue}};
}

class VgpuGemm : public testing::TestWithParam<GemmOp> {};

/// The case on `ranks` GPUs, twice with other inputs: launches that follow one another on the same
/// signals.
void run_gemm(const GemmCase& c, int ranks, const GemmRun& how, const KernelTarget& target) {
  constexpr int kLaunches = 2;
  const int of = is_local(c.op) ? 1 : ranks;
  TileWorld world(room_for({c}, of, how));
  std::vector<GemmWork> works;
  for (uint64_t i = 0; i < kLaunches; ++i) works.emplace_back(c, of, 7 + i);
  world.run([&](int rank) {
    GemmRank own(world, c, how, rank);
    for (size_t i = 0; i < works.size(); ++i) {
      own.prepare(works[i], (i + 1) * UINT64_C(0x9E3779B97F4A7C15));
      own.launch(target);
      if (world.failure() != TW_OK) return;
      if (own.check(works[i], target.name + ", " + c.name(of) + ", " + how.name())) continue;
      world.stop();
      return;
    }
  });
  EXPECT_EQ(world.failure(), TW_OK) << target.name << ", " << c.name(of) << ", " << how.name();
}

TEST_P(VgpuGemm, Cases) {
  const std::vector<GemmCase> cases =
      takes_all() ? gemm_cases(GetParam()) : few_gemm_cases(GetParam());
  const std::vector<GpuEntries>& targets = gpu_entries();
  size_t turn = 0;
  for (size_t t = 0; t < targets.size(); ++t)
    for (size_t i = 0; i < cases.size(); ++i) {
      // Every target in turn, each with every number of ranks.
      if (!takes_all() && (i + i / 4 + t) % targets.size() != 0) continue;
      ++turn;
      GemmRun how;
      how.blocks = 1 + static_cast<int>(turn % 3);
      how.raster = turn % 2 == 0 ? Raster::kRowsOuter : Raster::kColsOuter;
      how.tile_rows = how.tile_cols = 128;
      how.packed_for = PackedFor::kGpu;
      how.path = turn / 2 % 2 == 0 ? ReducePath::kViaOwner : ReducePath::kOneShot;
      run_gemm(cases[i], 1 + static_cast<int>(turn % 4), how, gemm_entries(targets[t]));
      if (HasFailure()) return;
    }
}

INSTANTIATE_TEST_SUITE_P(Ops, VgpuGemm,
                         testing::Values(GemmOp::kGemm, GemmOp::kAllGatherGemm,
                                         GemmOp::kGemmReduceScatter, GemmOp::kGemmAllReduce,
                                         GemmOp::kGemmAllToAll, GemmOp::kAllReduceNorm,
                                         GemmOp::kRowEpilogue),
                         [](const testing::TestParamInfo<GemmOp>& info) {
                           return name_of(info.param);
                         });

// ---- Attention ------------------------------------------------------------------------------

class VgpuAttention : public testing::Test {};

std::vector<AttentionTarget> attention_entries() {
  std::vector<AttentionTarget> targets;
  for (const GpuEntries& entries : gpu_entries())
    targets.push_back(
        {entries.name,
         entries.llama,
         true,
         {static_cast<uint32_t>(LlamaKind::kPlanAttention),
          static_cast<uint32_t>(LlamaKind::kAttend), static_cast<uint32_t>(LlamaKind::kMerge)}});
  return targets;
}

/// Decoded rows at edges of pages and splits, prompts that begin anywhere, rows of padding.
TEST_F(VgpuAttention, MatchesSumsInDouble) {
  constexpr uint32_t kHeads[] = {16, 64, 80, 128};
  constexpr uint32_t kWindows[] = {0, 5, 100};
  uint32_t turn = 0;
  for (const AttentionTarget& target : attention_entries())
    for (const uint32_t head_size : kHeads)
      for (const uint32_t group : {1, 3, 8}) {
        AttentionModel model;
        model.head_size = head_size;
        model.group = group;
        model.first_query = turn % (2 * group);
        model.queries = 1 + (turn + 1) % (2 * group);
        model.window = kWindows[turn % 3];
        AttentionRun run;
        run.page_size = turn % 2 == 0 ? 16 : 3;
        run.instructions = 1 + turn % 5;
        run.merges = 1 + turn % 2;
        run.blocks = 1 + static_cast<int>(turn % 3);
        run.tail = turn % 2;
        run.gap = 4;
        AttentionStep step(model,
                           {rows_of(0, 0, 7),
                            {1, {0, 31, 512}},
                            rows_of(2, 20, 33),
                            {3, {AttentionRows::kPadding, 600}}},
                           run);
        ASSERT_TRUE(step.compute(target)) << target.name << step.name();
        ASSERT_EQ(step.plan().error.sequence, AttentionError::kNone) << step.plan().error.page;
        ASSERT_TRUE(step.matches_reference(target, 3)) << target.name;
        ++turn;
      }
}

}  // namespace
}  // namespace tw::test
