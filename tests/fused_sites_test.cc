// Every place in a tile kernel that signals or waits is left out in turn, and each time something
// must go wrong: a wrong value, a time-out, or (in its build) a report of ThreadSanitizer. The
// places are those at which the tile layer asks its hook, so a new one is covered by itself; a line
// of a kernel that looks like one and is never reached is an error, and so is a kernel without a
// scenario.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <regex>
#include <string>
#include <thread>
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
#include "tests/runner/children.h"
#include "tests/runner/mortal_ranks.h"
#include "tests/runner/races.h"
#include "tests/support/gemm_kernels.h"

namespace tw::test {
namespace {

using planted::CpuTileBlock;
using planted::Site;

enum Kind : int { kSignals, kWaits };
constexpr const char* kKindNames[] = {"signal", "wait"};

struct Place {
  const char* file;
  int line;
  Kind kind;
  bool operator==(const Place& other) const {
    return std::strcmp(file, other.file) == 0 && line == other.line && kind == other.kind;
  }
  std::string text() const {
    return std::string(kKindNames[kind]) + " at " + file + ":" + std::to_string(line);
  }
};

// ---- The hook: one in a process, set before its ranks start
// -------------------------------------------

/// Who sleeps, before what: so that the others run ahead.
struct Tempo {
  int rank = -1;   // none
  int block = -1;  // all
  Kind before = kSignals;
};
constexpr int64_t kNapUs = 2000;

struct Record {
  static constexpr size_t kMost = 64;
  size_t count;
  Place places[kMost];
};

struct HookState {
  const Place* removed = nullptr;
  Tempo tempo;
  Record* record = nullptr;
  std::mutex mutex;
};
HookState hook;  // of a process that runs one trial
thread_local int this_rank = 0;
thread_local int this_block = 0;

template <Site relaxed>
struct SiteHook {
  static constexpr Site kRelaxed = relaxed;
  static bool signals(const At& at) { return come({at.file, at.line, kSignals}); }
  static bool waits(const At& at) { return come({at.file, at.line, kWaits}); }

 private:
  static bool come(const Place& place) {
    if (hook.removed != nullptr && *hook.removed == place) return false;
    if (hook.record != nullptr) write_down(place);
    const Tempo& tempo = hook.tempo;
    if (tempo.rank == this_rank && tempo.before == place.kind &&
        (tempo.block < 0 || tempo.block == this_block))
      sleep_us(kNapUs);
    return true;
  }
  static void write_down(const Place& place) {
    const std::lock_guard lock(hook.mutex);
    Record& record = *hook.record;
    if (std::find(record.places, record.places + record.count, place) !=
        record.places + record.count)
      return;
    if (record.count == Record::kMost) std::abort();
    record.places[record.count++] = place;
  }
};

// ---- Kernels and their scenarios
// ------------------------------------------------------------------------

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
      break;
    case GemmOp::kGemmAllReduce:
      list.push_back(normed(window, true));
      list.push_back(one_tile(normed(window, false)));
      list.push_back(normed(own, false));
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

std::map<std::string, GemmOp> scenario_ops() {
  std::map<std::string, GemmOp> ops;
  for (int op = 0; op <= static_cast<int>(GemmOp::kRowEpilogue); ++op)
    ops[name_of(static_cast<GemmOp>(op))] = static_cast<GemmOp>(op);
  return ops;
}

// ---- A trial
// --------------------------------------------------------------------------------------------

constexpr int kLaunches = 3;
constexpr int kRed = 3;

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

/// Whether the scenario ends as it should.
bool good(const Scenario& s, const Works& works, CpuEntry entry,
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
      const uint64_t history = (i + 1) * UINT64_C(0x9E3779B97F4A7C15);
      own.prepare(works[i], history);
      launch(entry, own, rank, run.blocks);
      if (world.failure() != TW_OK) return;
      if (own.check(works[i], "")) continue;
      wrong = true;
      world.stop();
      return;
    }
  });
  return !wrong && world.failure() == TW_OK;
}

/// All scenarios of a kernel in all tempos; the exit status of a child. Stops at the first bad end.
int run_all(const std::vector<Scenario>& scenarios, const std::vector<Works>& works, CpuEntry entry,
            std::chrono::milliseconds patience) {
  for (size_t i = 0; i < scenarios.size(); ++i)
    for (const Tempo& tempo : tempos(scenarios[i].run.blocks)) {
      hook.tempo = tempo;
      if (!good(scenarios[i], works[i], entry, patience)) return kRed;
    }
  return 0;
}

constexpr std::chrono::milliseconds kPatient{20000}, kImpatient{500};
constexpr int kAtOnce = 4;

class Sites : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const auto ops = scenario_ops();
    const auto op = ops.find(GetParam());
    ASSERT_NE(op, ops.end()) << "no scenario for kernel " << GetParam();
    scenarios_ = scenarios_of(op->second);
    for (const Scenario& s : scenarios_) works_.push_back(work_out(s));
    entry_ = Entries<Site::kNone>::of(GetParam());
    ASSERT_NE(entry_, nullptr);
  }

  /// The places that the scenarios reach, when nothing is left out.
  std::vector<Place> places() {
    const InSharedMemory<Record> record;
    const std::vector<int> result = run_children(1, 1, [&](int) {
      hook.record = &*record;
      return run_all(scenarios_, works_, entry_, kPatient);
    });
    EXPECT_EQ(result[0], 0) << GetParam() << " fails with nothing left out";
    return {record->places, record->places + record->count};
  }

  std::vector<Scenario> scenarios_;
  std::vector<Works> works_;
  CpuEntry entry_ = nullptr;
};

std::string source_line(const Place& place) {
  std::ifstream file(place.file);
  std::string line;
  for (int i = 0; i < place.line; ++i) std::getline(file, line);
  const size_t begin = line.find_first_not_of(' ');
  return begin == std::string::npos ? "" : line.substr(begin);
}

/// Lines of a kernel's source that look like places.
std::vector<int> lines_that_look_like_places(const std::string& file, bool local) {
  const std::regex look(local
                            ? R"(\.(signal|signal_all|wait|wait_peers|wait_all|when)\()"
                            : R"(\.(meet|close|signal|signal_all|wait|wait_peers|wait_all|when)\()"
                              R"(|\bcall_?\(block, args)");
  std::ifstream source(file);
  std::vector<int> lines;
  std::string line;
  for (int number = 1; std::getline(source, line); ++number)
    if (std::regex_search(line.substr(0, line.find("//")), look)) lines.push_back(number);
  return lines;
}

TEST_P(Sites, AllAreReached) {
  const std::vector<Place> all = places();
  if (HasFailure()) return;
  const GemmOp op = scenario_ops().at(GetParam());
  const bool in_norm = op == GemmOp::kAllReduceNorm || op == GemmOp::kRowEpilogue;
  const std::string file =
      std::string("kernels/") + (in_norm ? "norm/" : "gemm/") + GetParam() + ".cu";
  ASSERT_TRUE(std::ifstream(file).good()) << file;
  for (const int line : lines_that_look_like_places(file, is_local(op)))
    EXPECT_TRUE(std::any_of(all.begin(), all.end(), [&](const Place& p) { return p.line == line; }))
        << file << ":" << line << " is reached by no scenario";
}

TEST_P(Sites, EachIsNeeded) {
  const std::vector<Place> all = places();
  if (HasFailure()) return;
  const std::vector<int> results = run_children(static_cast<int>(all.size()), kAtOnce, [&](int i) {
    hook.removed = &all[static_cast<size_t>(i)];
    return run_all(scenarios_, works_, entry_, kImpatient);
  });
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string what =
        GetParam() + std::string(" without the ") + all[i].text() + ": " + source_line(all[i]);
    EXPECT_NE(results[i], 0) << what << ": nothing went wrong";
  }
}

#if defined(TW_SANITIZE_THREAD)
/// The release of each kind of signal, made a relaxed store: ThreadSanitizer reports it.
TEST_P(Sites, EachReleaseIsNeeded) {
  if (is_local(scenario_ops().at(GetParam()))) return;
  const CpuEntry entries[] = {Entries<Site::kSignal>::of(GetParam()),
                              Entries<Site::kEntry>::of(GetParam())};
  const std::vector<int> results =
      run_children(2, 2, [&](int i) { return run_all(scenarios_, works_, entries[i], kPatient); });
  EXPECT_EQ(results[0], kRaceReported) << "relaxed signals";
  EXPECT_EQ(results[1], kRaceReported) << "relaxed entries";
}
#endif

INSTANTIATE_TEST_SUITE_P(Kernels, Sites, testing::ValuesIn(kKernels),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tw::test
