// Every place in a tile kernel that signals or waits is left out in turn, and each time something
// must go wrong, in a way that is known: a wrong value, a time-out where nothing left out has none,
// a mismatch, a call that is not written down, or (in its build) a report of ThreadSanitizer. The
// places are those at which the tile layer asks its hook, so a new one is covered by itself; a
// place in the sources that is never reached is an error, and so is a kernel without a scenario.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

// The kernels' templates, in a namespace of their own.
#undef TW_NS
#define TW_NS tw::planted
#include "kernels/gemm/all_gather_gemm.cu"
#include "kernels/gemm/gemm.cu"
#include "kernels/gemm/gemm_all_reduce.cu"
#include "kernels/gemm/gemm_all_to_all.cu"
#include "kernels/gemm/gemm_reduce_scatter.cu"
#include "kernels/norm/all_reduce_residual_rms_norm.cu"
#include "kernels/norm/row_epilogue.cu"
#include "lib/comm/call_text.h"
#include "tests/runner/children.h"
#include "tests/runner/mortal_ranks.h"
#include "tests/runner/races.h"
#include "tests/support/gemm_kernels.h"
#include "tests/support/site_hook.h"
#include "tests/support/tile_sites.h"

namespace tw::test {
namespace {

using planted::CpuTileBlock;
using planted::Site;

// ---- Kernels and their scenarios ----

template <Site relaxed>
struct Entries {
#define TW_KERNEL_ROW(name, Args)                                                \
  static void name(const void* args, int block, int blocks) {                    \
    const Args& arguments = *static_cast<const Args*>(args);                     \
    CpuTileBlock<SiteHook<relaxed>> self(block, blocks, #name, arguments.tiles); \
    planted::name(self, arguments);                                              \
  }
#include "kernels/tile_kernels.def"
#undef TW_KERNEL_ROW
  static CpuEntry of(const std::string& kernel) {
#define TW_KERNEL_ROW(name, Args) \
  if (kernel == #name) return &name;
#include "kernels/tile_kernels.def"
#undef TW_KERNEL_ROW
    return nullptr;
  }
};

constexpr const char* kKernels[] = {
#define TW_KERNEL_ROW(name, Args) #name,
#include "kernels/tile_kernels.def"
#undef TW_KERNEL_ROW
};

struct Scenario {
  GemmCase c;
  GemmRun run;
};
constexpr int kRanks = 2;

/// Two tiles of rows a rank, the second ragged, and one or two of columns.
Scenario scenario(GemmOp op, Placing placing, int blocks, ReducePath path = ReducePath::kViaOwner) {
  Scenario s;
  s.c.op = op;
  s.c.m = 10;
  s.c.n = 70;
  s.c.k = takes_addend(op) ? 0 : 24;
  s.c.type = s.c.out = s.c.partial = TW_FP32;
  s.c.norm = op == GemmOp::kAllReduceNorm;
  s.c.placing = placing;
  s.run.blocks = blocks;
  s.run.threads = blocks > 1;
  s.run.tile_rows = 4;
  s.run.path = path;
  return s;
}

Scenario normed(Scenario s, bool hidden) {
  s.c.norm = true;
  s.c.hidden = hidden;
  return s;
}

/// For a product that takes longer than a thread to start; ThreadSanitizer needs no time to see.
#if defined(TW_SANITIZE_THREAD)
constexpr size_t kLongK = 600;
#else
constexpr size_t kLongK = 20000;
#endif

/// One block multiplies; the other has nothing to do but to norm, or to hand out.
Scenario one_tile(Scenario s) {
  s.c.m = is_local(s.c.op) ? 4 : 8;
  s.c.n = 64;
  if (is_local(s.c.op)) s.c.k = kLongK;
  return s;
}

/// Tiles with rows of both ranks.
Scenario mixed(Scenario s) {
  s.run.whole_rows = true;
  return s;
}

Scenario gathered(Scenario s, size_t n) {
  s.c.gathered = true;
  s.c.n = n;
  return s;
}

/// A kernel's scenarios: they must reach every place in it, and need each.
std::vector<Scenario> scenarios_of(GemmOp op) {
  constexpr Placing kWindow = Placing::kWindow, kPrivate = Placing::kPrivate;
  constexpr ReducePath kOneShot = ReducePath::kOneShot;
  std::vector<Scenario> list = {scenario(op, kPrivate, 1), scenario(op, kWindow, 2)};
  const Scenario own = list[0], window = list[1];
  switch (op) {
    case GemmOp::kGemm:
      list = {one_tile(normed(window, false))};
      break;
    case GemmOp::kAllGatherGemm:
      list.push_back(gathered(one_tile(window), 64));
      list.push_back(gathered(own, 0));
      list.push_back(mixed(own));
      list.push_back(mixed(window));
      break;
    case GemmOp::kGemmReduceScatter:
      list.push_back(mixed(own));
      list.push_back(mixed(window));
      break;
    case GemmOp::kGemmAllReduce:
      list.push_back(normed(window, true));
      list.push_back(one_tile(normed(window, false)));
      list.push_back(normed(own, false));
      list.push_back(mixed(normed(own, true)));
      list.push_back(mixed(one_tile(normed(window, true))));
      list.push_back(scenario(op, kPrivate, 1, kOneShot));
      list.push_back(normed(scenario(op, kPrivate, 2, kOneShot), false));
      break;
    case GemmOp::kAllReduceNorm:
      list.push_back(normed(own, true));
      list.push_back(scenario(op, kPrivate, 1, kOneShot));
      list.push_back(scenario(op, kPrivate, 2, kOneShot));
      break;
    default:
      break;
  }
  if (!is_local(op)) {  // nothing to do, but the ranks' calls are still compared
    std::vector<Scenario> empty = {own};
    if (op == GemmOp::kGemmAllReduce) empty.push_back(normed(own, false));
    if (op == GemmOp::kAllReduceNorm) empty.push_back(scenario(op, kPrivate, 1, kOneShot));
    for (Scenario& s : empty) s.c.m = 0;
    list.insert(list.end(), empty.begin(), empty.end());
  }
  for (Scenario& s : list) s.c.tolerance = tolerance_of(s.c);
  return list;
}

std::vector<Tempo> tempos(int blocks) {
  std::vector<Tempo> list = {
      {0, -1, kWaits}, {1, -1, kWaits}, {0, -1, kSignals}, {1, -1, kSignals}};
  if (blocks > 1) {
    list.push_back({0, 0, kSignals});
    list.push_back({1, 0, kWaits});
  }
  return list;
}

// ---- A trial ----

constexpr int kLaunches = 3;

/// How a trial ends: the exit status of its process. kRaceReported is one more.
enum End : int { kGood = 0, kWrong = 3, kTimedOut, kMismatched, kNotWrittenDown };

std::string text_of(int end) {
  constexpr const char* kTexts[] = {"a wrong value", "a time-out", "a mismatch",
                                    "a call that is not written down"};
  if (end == kGood) return "nothing went wrong";
  if (end == kRaceReported) return "a race";
  if (end >= kWrong && end <= kNotWrittenDown) return kTexts[end - kWrong];
  return "its process ended with " + std::to_string(end);
}

void launch(CpuEntry entry, const GemmRank& own, int rank, int blocks) {
  const auto block = [&](int index) {
    this_rank = rank;
    this_block = index;
    entry(own.args(), index, blocks);
  };
  std::vector<std::thread> threads;
  for (int b = 1; b < blocks; ++b) threads.emplace_back(block, b);
  block(0);
  for (std::thread& thread : threads) thread.join();
}

/// What every launch of a scenario must give, by scenario: the parent works it out for its
/// children.
using Works = std::vector<GemmWork>;
Works work_out(const Scenario& s) {
  Works works;
  for (int i = 0; i < kLaunches; ++i)
    works.emplace_back(s.c, is_local(s.c.op) ? 1 : kRanks, static_cast<uint64_t>(i + 1));
  return works;
}

uint64_t history_of(size_t launch) { return (launch + 1) * UINT64_C(0x9E3779B97F4A7C15); }

/// Whether every rank's calls stand where a message about them would look.
bool all_written_down(TileWorld& world) {
  static_assert(kLaunches + 1 < kCallRecords);
  for (int rank = 0; rank < world.ranks(); ++rank) {
    const tw_tile_view view = world.view(rank, 0);
    const RankControl& control = *reinterpret_cast<RankControl*>(view.comm.heaps[rank]);
    if (control.entered != kLaunches) return false;
    for (size_t i = 0; i < kLaunches; ++i) {
      const CallRecord& record = control.records[i + 1];
      if (record.seq != i + 1 || record.digest != history_of(i) ||
          call_text(record) != "all_reduce(counts 1 2 3 ... of 0 in all, TW_FP32, TW_SUM)")
        return false;
    }
  }
  return true;
}

End run_scenario(const Scenario& s, const Works& works, CpuEntry entry,
                 std::chrono::milliseconds patience) {
  TileWorldShape shape = room_for({s.c}, kRanks, s.run);
  shape.window_bytes *= kLaunches + 1;
  shape.patience = patience;
  TileWorld world(shape);
  std::atomic<bool> wrong{false};
  world.run([&](int rank) {
    for (size_t i = 0; i < kLaunches; ++i) {
      GemmRun run =
          s.run;  // windows move, so that what a peer knows of the last launch is of no use
      run.window_offset = i * (shape.window_bytes / (kLaunches + 1) / 64 * 64);
      GemmRank own(world, s.c, run, rank);
      own.prepare(works[i], history_of(i));
      launch(entry, own, rank, run.blocks);
      if (world.failure() != TW_OK) return;
      if (own.check(works[i], "")) continue;
      wrong = true;
      world.stop();
      return;
    }
  });
  if (wrong) return kWrong;
  if (world.failure() == TW_ERROR_TIMEOUT) return kTimedOut;
  if (world.failure() == TW_ERROR_MISMATCH) return kMismatched;
  if (world.failure() != TW_OK) std::abort();
  return all_written_down(world) ? kGood : kNotWrittenDown;
}

constexpr std::chrono::milliseconds kPatient{20000}, kImpatient{500}, kLessImpatient{8000};
constexpr int kAtOnce = 8;

/// A kernel, its scenarios, and the places that they reach when nothing is left out.
struct Program {
  GemmOp op;
  CpuEntry entry;
  std::vector<Scenario> scenarios;
  std::vector<Works> works;
  int end;  // with nothing left out
  std::vector<Place> places;
};

/// All scenarios in all tempos; a child's exit status. Stops at the first bad end.
End run_all(const Program& program, CpuEntry entry, std::chrono::milliseconds patience) {
  for (size_t i = 0; i < program.scenarios.size(); ++i)
    for (const Tempo& tempo : tempos(program.scenarios[i].run.blocks)) {
      hook.tempo = tempo;
      const End end = run_scenario(program.scenarios[i], program.works[i], entry, patience);
      if (end != kGood) return end;
    }
  return kGood;
}

/// The op of a kernel; what is no op when nobody has made scenarios for it.
GemmOp op_of(const std::string& kernel) {
  int op = 0;
  while (op <= static_cast<int>(GemmOp::kRowEpilogue) && kernel != name_of(static_cast<GemmOp>(op)))
    ++op;
  return static_cast<GemmOp>(op);
}

/// Of every kernel that has scenarios. What they reach is found for all at once: most of it is
/// sleep.
std::map<std::string, Program> make_programs() {
  std::map<std::string, Program> programs;
  std::vector<Program*> all;
  for (const char* kernel : kKernels) {
    const GemmOp op = op_of(kernel);
    if (op > GemmOp::kRowEpilogue) continue;
    Program& program = programs[kernel];
    program = {op, Entries<Site::kNone>::of(kernel), scenarios_of(op), {}, kGood, {}};
    for (const Scenario& s : program.scenarios) program.works.push_back(work_out(s));
    all.push_back(&program);
  }
  const InSharedMemory<std::array<Record, std::size(kKernels)>> records;
  const std::vector<int> ends = run_children(static_cast<int>(all.size()), kAtOnce, [&](int i) {
    hook.record = &(*records)[static_cast<size_t>(i)];
    return run_all(*all[static_cast<size_t>(i)], all[static_cast<size_t>(i)]->entry, kPatient);
  });
  for (size_t i = 0; i < all.size(); ++i) {
    const Record& record = (*records)[i];
    all[i]->end = ends[i];
    all[i]->places.assign(record.places, record.places + record.count);
  }
  return programs;
}

/// Null, and a failure, when the kernel has no scenarios or fails with nothing left out.
const Program* program_of(const char* kernel) {
  static const std::map<std::string, Program> programs = make_programs();
  if (op_of(kernel) > GemmOp::kRowEpilogue) {
    ADD_FAILURE() << "no scenario for kernel " << kernel;
    return nullptr;
  }
  const Program& program = programs.at(kernel);
  EXPECT_EQ(program.end, kGood) << kernel << " with nothing left out: " << text_of(program.end);
  return program.end == kGood ? &program : nullptr;
}

// ---- What must go wrong ----

/// What leaving a place out may show in. That a call is written down is for messages only.
bool shows(const Place& place, int end) {
  if (source_line(place.file, place.line).find("announce(") != std::string::npos)
    return end == kNotWrittenDown;
#if defined(TW_SANITIZE_THREAD)
  if (end == kRaceReported) return true;
#endif
  return end == kWrong || end == kTimedOut || end == kMismatched;
}

class Sites : public testing::TestWithParam<const char*> {};

/// One rank that is a whole comm has nobody to meet.
bool is_of_one_rank(const TileSite& site) {
  const std::string stem = site.file.substr(site.file.rfind('/') + 1);
  const GemmOp op = op_of(stem.substr(0, stem.rfind('.')));
  return op <= GemmOp::kRowEpilogue && is_local(op) &&
         (site.op == "TileCall" || site.op == "meet" || site.op == "close");
}

TEST(SiteList, IsThatOfTheSources) {
  using Line = std::pair<std::string, int>;
  std::set<Line> reached, written;
  for (const char* kernel : kKernels)
    if (const Program* program = program_of(kernel))
      for (const Place& place : program->places) reached.insert({place.path(), place.line});
  for (const TileSite& site : tile_sites()) {
    if (is_of_one_rank(site)) continue;
    written.insert({site.file, site.line});
    EXPECT_EQ(reached.count({site.file, site.line}), 1U)
        << site.file << ":" << site.line
        << " is reached by no scenario: " << source_line(site.file, site.line);
  }
  for (const auto& [file, line] : reached)
    EXPECT_EQ(written.count({file, line}), 1U)
        << file << ":" << line << " is not found in the sources: " << source_line(file, line);
}

/// The end with nothing left out, then those without each place in turn, all in the same crowd.
std::vector<int> ends_of(const Program& program, std::chrono::milliseconds patience) {
  const int n = static_cast<int>(program.places.size());
  return run_children(n + 1, kAtOnce, [&](int i) {
    if (i > 0) hook.removed = &program.places[static_cast<size_t>(i - 1)];
    return run_all(program, program.entry, patience);
  });
}

TEST_P(Sites, EachIsNeeded) {
  const Program* const program = program_of(GetParam());
  if (program == nullptr) return;
  // On a machine that is busy with something else the first patience may be too short for anybody.
  std::chrono::milliseconds patience = kImpatient;
  std::vector<int> ends = ends_of(*program, patience);
  for (; ends[0] == kTimedOut && patience < kLessImpatient; ends = ends_of(*program, patience))
    patience *= 4;
  ASSERT_EQ(ends[0], kGood) << GetParam() << " with nothing left out and " << patience.count()
                            << " ms of patience: " << text_of(ends[0]);
  for (size_t i = 0; i < program->places.size(); ++i) {
    const Place& place = program->places[i];
    EXPECT_TRUE(shows(place, ends[i + 1]))
        << GetParam() << " without the " << place.text() << " ("
        << source_line(place.file, place.line) << "): " << text_of(ends[i + 1]);
  }
}

#if defined(TW_SANITIZE_THREAD)
/// The release of each kind of signal, made a relaxed store: ThreadSanitizer reports it.
TEST_P(Sites, EachReleaseIsNeeded) {
  const Program* const program = program_of(GetParam());
  if (program == nullptr || is_local(program->op)) return;
  const CpuEntry entries[] = {Entries<Site::kSignal>::of(GetParam()),
                              Entries<Site::kEntry>::of(GetParam())};
  const std::vector<int> ends =
      run_children(2, 2, [&](int i) { return run_all(*program, entries[i], kPatient); });
  EXPECT_EQ(ends[0], kRaceReported) << "relaxed signals: " << text_of(ends[0]);
  EXPECT_EQ(ends[1], kRaceReported) << "relaxed entries: " << text_of(ends[1]);
}
#endif

INSTANTIATE_TEST_SUITE_P(Kernels, Sites, testing::ValuesIn(kKernels),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tw::test
