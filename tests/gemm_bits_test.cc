// The bits of GEMM and the fused ops: a row has the same alone, in a batch, by any tiles, in any
// order, with any number of blocks, with packed and plain weights, fused and by parts, on every
// rank and in every run. For each target of this machine.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lib/device/kernels.h"
#include "tests/runner/gemm_runner.h"
#include "tests/runner/ranks.h"
#include "tests/support/gemm_kernels.h"

namespace tw::test {
namespace {

using Bytes = std::vector<char>;

/// Random data, so that sums depend on their order. K is several steps and a ragged one.
GemmCase bits_case(GemmOp op, size_t m, tw_type_t type, tw_type_t out) {
  GemmCase c;
  c.op = op;
  c.m = m;
  c.n = 83;
  c.k = takes_addend(op) ? 0 : 611;
  c.type = takes_addend(op) ? out : type;
  c.out = c.partial = out;
  c.norm = op == GemmOp::kAllReduceNorm;
  c.random = true;
  return c;
}

// ---- tw_gemm's kernel: rows, tiles, blocks, layouts
// -------------------------------------------------

Bytes product(const GemmWork& work, const GemmRun& run, const KernelTarget& target) {
  TileWorld world(room_for({work.c}, 1, run));
  GemmRank own(world, work.c, run, 0);
  own.prepare(work, 1);
  own.launch(target);
  EXPECT_EQ(world.failure(), TW_OK);
  return own.results();
}

/// The same call with `rows` rows of the batch from `first` on.
GemmWork part_of(const GemmWork& batch, size_t first, size_t rows) {
  GemmWork work = batch;
  work.c.m = rows;
  Values& a = work.parts[0].a;
  const auto begin = batch.parts[0].a.data.begin() + static_cast<ptrdiff_t>(first * a.cols);
  a.data.assign(begin, begin + static_cast<ptrdiff_t>(rows * a.cols));
  a.rows = rows;
  return work;
}

GemmRun tiles(uint32_t rows, uint32_t cols, Raster raster = Raster::kRowsOuter, int blocks = 1) {
  GemmRun run;
  run.tile_rows = rows;
  run.tile_cols = cols;
  run.raster = raster;
  run.blocks = blocks;
  run.threads = blocks > 1;
  return run;
}

class GemmBits : public testing::TestWithParam<tw_type_t> {};

TEST_P(GemmBits, OfARowAloneAndInABatch) {
  const GemmCase c = bits_case(GemmOp::kGemm, 512, GetParam(), TW_FP32);
  const GemmWork batch(c, 1, 7);
  const size_t row = c.n * sizeof(float);
  for (const KernelTarget& target : kernel_targets()) {
    const Bytes want = product(batch, tiles(512, 256), target);
    for (const auto& [first, rows] : std::vector<std::pair<size_t, size_t>>{
             {0, 1}, {1, 1}, {17, 1}, {511, 1}, {0, 2}, {5, 3}, {100, 17}, {31, 33}, {64, 129}}) {
      const Bytes got = product(part_of(batch, first, rows), tiles(512, 256), target);
      ASSERT_EQ(got, Bytes(want.begin() + static_cast<ptrdiff_t>(first * row),
                           want.begin() + static_cast<ptrdiff_t>((first + rows) * row)))
          << target.name << ": rows " << first << " to " << first + rows;
    }
  }
}

TEST_P(GemmBits, ByAnyTiles) {
  GemmCase c = bits_case(GemmOp::kGemm, 77, GetParam(), TW_FP32);
  const GemmWork plain(c, 1, 9);
  const GemmRun ways[] = {tiles(16, 64),
                          tiles(32, 32),
                          tiles(48, 128, Raster::kColsOuter),
                          tiles(512, 64, Raster::kColsOuter, 3),
                          tiles(16, 256, Raster::kRowsOuter, 3),
                          tiles(7, 19)};
  for (const KernelTarget& target : kernel_targets()) {
    const Bytes want = product(plain, tiles(512, 256), target);
    for (const GemmRun& way : ways)
      for (int layout = 0; layout < 4; ++layout) {
        GemmWork work = plain;
        work.c.b_packed = layout == 1;
        work.c.b_transposed = layout == 2;
        work.c.a_transposed = layout == 3;
        ASSERT_EQ(product(work, way, target), want)
            << target.name << ", " << way.name() << ": " << work.c.name(1);
      }
    ASSERT_EQ(product(plain, tiles(512, 256), target), want) << "again";
  }
}

INSTANTIATE_TEST_SUITE_P(Types, GemmBits, testing::Values(TW_BF16, TW_FP16, TW_FP32));

TEST(GemmBitsData, ShowsTheOrderOfSummation) {
  // If these products summed to the same bits in any order, the tests above could not fail.
  const GemmWork work(bits_case(GemmOp::kGemm, 8, TW_FP32, TW_FP32), 1, 7);
  const Values &a = work.parts[0].a, &b = work.parts[0].b;
  int differ = 0;
  for (size_t i = 0; i < a.rows; ++i) {
    volatile float up = 0, down = 0;
    for (size_t k = 0; k < a.cols; ++k) up = up + a.at(i, k) * b.at(k, i);
    for (size_t k = a.cols; k-- > 0;) down = down + a.at(i, k) * b.at(k, i);
    differ += up != down;
  }
  EXPECT_GT(differ, 4);
}

// ---- The calls: fused, by parts, on every rank
// --------------------------------------------------------

std::vector<GemmCase> call_cases() {
  std::vector<GemmCase> cases;
  for (const GemmOp op : kGemmOps)
    for (const size_t m : {size_t{1}, size_t{45}, size_t{130}})
      for (const tw_type_t out : {TW_BF16, TW_FP32}) {
        GemmCase c = bits_case(op, m, m == 45 ? TW_FP16 : TW_BF16, out);
        c.partial = m == 130 ? TW_FP32 : out;
        if (takes_addend(op)) c.partial = out;
        c.bias = !takes_addend(op) && m != 1;
        c.residual = op != GemmOp::kGemmAllToAll && m != 45;
        c.norm |= op == GemmOp::kGemmAllReduce && m == 130;
        c.hidden = c.norm;
        c.activation = c.bias ? Activation::kGelu : Activation::kNone;
        c.placing = m == 45 ? Placing::kMixed : Placing::kPrivate;
        cases.push_back(c);
      }
  return cases;
}

/// [rank][case]
using Results = std::vector<std::vector<Bytes>>;

Results results(const std::vector<GemmCase>& cases, const std::vector<GemmWork>& works, int n) {
  Results all(static_cast<size_t>(n), std::vector<Bytes>(cases.size()));
  const ThreadRanks ranks(n);
  ranks.run([&](int rank, tw_comm_t comm) {
    const ResultWindow window(comm, cases);
    for (size_t i = 0; i < cases.size(); ++i) {
      const bool local = is_local(cases[i].op);
      GemmCaller own(cases[i], local ? 0 : rank, local ? 1 : n, window.memory());
      ASSERT_EQ(own.prepare(works[i], comm), TW_OK) << tw_last_error();
      const tw_status_t status = own.call(comm);
      if (status != TW_OK) tw_comm_abort(comm);
      ASSERT_EQ(status, TW_OK) << cases[i].name(n) << ": " << tw_last_error();
      all[static_cast<size_t>(rank)][i] = own.results();
    }
  });
  return all;
}

class CallBits : public testing::TestWithParam<int> {};

TEST_P(CallBits, ByEveryWay) {
  const int n = GetParam();
  const std::vector<GemmCase> cases = call_cases();
  std::vector<GemmWork> works;
  for (const GemmCase& c : cases) works.emplace_back(c, is_local(c.op) ? 1 : n, 11);
  struct Way {
    const char *fused, *path, *workers, *store;
  };
  constexpr Way kWays[] = {{"always", "via_owner", "1", "plain"},
                           {"always", "via_owner", "3", "nontemporal"},
                           {"always", "one_shot", "1", "nontemporal"},
                           {"always", "one_shot", "2", "plain"},
                           {"never", "", "2", "plain"},
                           {"never", "", "2", "plain"}};
  for (int t = 0; t < kCpuTargets; ++t) {
    const auto target = static_cast<CpuTarget>(t);
    if (kernels::gemm.cpu[t] == nullptr || !cpu_runs(target)) continue;
    const ScopedEnv force("TW_DEVICE_TARGET", cpu_target_name(target));
    Results want;
    for (const Way& way : kWays) {
      const ScopedEnv fused("TW_FUSED", way.fused), path("TW_FUSED_PATH", way.path),
          workers("TW_COMM_WORKERS", way.workers), store("TW_COLL_STORE", way.store);
      const Results got = results(cases, works, n);
      if (HasFailure()) return;
      if (want.empty()) want = got;
      for (size_t i = 0; i < cases.size(); ++i)
        for (size_t rank = 0; rank < got.size(); ++rank) {
          ASSERT_EQ(got[rank][i], want[rank][i])
              << cases[i].name(n) << " rank " << rank << ": " << cpu_target_name(target)
              << " TW_FUSED=" << way.fused << " TW_FUSED_PATH=" << way.path;
          const bool same_everywhere =
              cases[i].op == GemmOp::kGemmAllReduce || cases[i].op == GemmOp::kAllReduceNorm;
          ASSERT_TRUE(!same_everywhere || got[rank][i] == got[0][i])
              << cases[i].name(n) << ": rank " << rank << " differs from rank 0";
        }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, CallBits, testing::Values(1, 2, 3));

// What a fused call promises: tw_gemm to partial_type, then tw_all_reduce.
TEST(CallBits, AreThoseOfGemmAndAllReduce) {
  const int n = 3;
  const GemmCase c = bits_case(GemmOp::kGemmAllReduce, 37, TW_BF16, TW_BF16);
  const GemmWork work(c, n, 5);
  const ThreadRanks ranks(n);
  ranks.run([&](int rank, tw_comm_t comm) {
    GemmCaller own(c, rank, n, nullptr);
    ASSERT_EQ(own.prepare(work, comm), TW_OK);
    ASSERT_EQ(own.call(comm), TW_OK) << tw_last_error();
    Bytes sums(c.m * c.n * 2);
    tw_gemm_args_t args = own.args();
    args.c = sums.data();
    args.partial_type = static_cast<tw_type_t>(0);
    ASSERT_EQ(tw_gemm(&args, comm, nullptr), TW_OK) << tw_last_error();
    ASSERT_EQ(tw_all_reduce(sums.data(), sums.data(), c.m * c.n, TW_BF16, TW_SUM, comm, nullptr),
              TW_OK);
    EXPECT_EQ(own.results(), sums) << "rank " << rank;
  });
}

}  // namespace
}  // namespace tw::test
