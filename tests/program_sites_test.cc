// Every place in the run-time and the ops of programs that signals or waits is left out in turn, in
// steps of a Llama model on the library's own programs, and each time something must go wrong:
// other results, an error, or (in its build) a report of ThreadSanitizer. fused_sites_test does so
// for the other kernels. A new place is covered by itself, and one that no scenario reaches is an
// error.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <set>
#include <string>
#include <utility>
#include <vector>

// The kernel's templates, in a namespace of their own.
#undef TW_NS
#define TW_NS tw::planted
#include "kernels/llama/llama.cu"
#include "tests/runner/children.h"
#include "tests/runner/mortal_ranks.h"
#include "tests/runner/races.h"
#include "tests/support/model_ranks.h"
#include "tests/support/site_hook.h"
#include "tests/support/tile_sites.h"

namespace tw::test {
namespace {

using planted::Site;

/// Which of the releases the entry makes a relaxed store.
Site relaxed = Site::kNone;

template <Site site>
void run_llama(const ProgramArgs& args, int block, int blocks) {
  planted::CpuTileBlock<SiteHook<site>> self(block, blocks, "llama", args.tiles);
  planted::llama(self, args);
}

}  // namespace
}  // namespace tw::test

/// In place of the library's: this program has one already when it comes to the archive's.
namespace tw::cpu_portable {
void llama_entry(const void* args, int block, int blocks);
void llama_entry(const void* args, int block, int blocks) {
  const auto& arguments = *static_cast<const ProgramArgs*>(args);
  test::this_rank = arguments.tiles.comm.rank;
  test::this_block = block;
  switch (test::relaxed) {
    case planted::Site::kSignal:
      return test::run_llama<planted::Site::kSignal>(arguments, block, blocks);
    case planted::Site::kEntry:
      return test::run_llama<planted::Site::kEntry>(arguments, block, blocks);
    default:
      return test::run_llama<planted::Site::kNone>(arguments, block, blocks);
  }
}
}  // namespace tw::cpu_portable

namespace tw::test {
namespace {

// ---- Scenarios: what every step of a run computes ----

constexpr int kRanks = 2, kSteps = 3;

struct Scenario {
  uint32_t rows;
  int workers;
  uint32_t first_layer, last_layer;  // with a first one, rows come from outside; so they go
  bool logits, sampled;
};
constexpr uint32_t kLayers = 2;
/// Few rows: every rank has the whole residual stream. From 64 on rows have owners.
constexpr Scenario kScenarios[] = {
    {3, 1, 0, kLayers, true, true},         // a whole step
    {3, 2, 0, kLayers, true, true},         //
    {70, 1, 0, kLayers, true, false},       //
    {70, 2, 0, kLayers, true, true},        //
    {3, 1, 1, kLayers, true, true},         // a part of the layers
    {70, 2, 1, 1, false, false},            // none
    {3, 1, kLayers, kLayers, false, true},  // the head
    {3, 2, 0, kLayers, false, false},       // all but the head
    {70, 2, 0, kLayers, false, false},      //
};

LlamaConfig config() {
  LlamaConfig c;
  c.layers = kLayers;
  c.hidden = 48;
  c.heads = 6;
  c.kv_heads = 3;
  c.head_size = 64;
  c.ffn = 80;
  c.vocab = 131;
  return c;
}

tw_model_limits_t limits() {
  tw_model_limits_t l = TW_MODEL_LIMITS_INIT;
  l.rows = l.logit_rows = 70;
  l.sequences = 1;
  l.context = 256;
  l.page_size = 16;
  l.pages = l.table_pages = 16;
  return l;
}

// ---- One rank's steps ----

constexpr size_t kMostResult = 70 * 131;

/// What a step gives at a rank: logits or hidden rows, and tokens.
struct Result {
  std::array<uint32_t, kMostResult> rows;  // bits of floats
  std::array<int32_t, 70> tokens;
};
using Results = std::array<std::array<Result, kSteps>, std::size(kScenarios)>;

/// Steps that go on with one sequence.
class Steps {
 public:
  Steps(const Scenario& scenario, tw_model_t model) : s_(scenario), model_(model) {
    for (uint32_t i = 0; i < s_.rows; ++i) logit_row_.push_back(i);
    for (uint32_t i = 0; i < limits().pages; ++i) pages_.push_back(i);
    sampling_.assign(s_.rows, tw_sampling_t{0, 0, 1, -1, 0});
  }

  tw_status_t run(int number, Result* result) {
    std::memset(result, 0xa5, sizeof *result);
    const auto rows = static_cast<int>(s_.rows);
    const std::vector<int> tokens =
        random_tokens(config(), rows, static_cast<uint64_t>(number) + 1);
    std::vector<float> hidden(s_.rows * 48);
    for (size_t i = 0; i < hidden.size(); ++i)
      hidden[i] = static_cast<float>((i * 37 + static_cast<size_t>(number)) % 101) / 50 - 1;
    std::vector<int32_t> positions;
    std::vector<int64_t> slots;
    for (int i = 0; i < rows; ++i) {
      positions.push_back(number * rows + i);
      slots.push_back(number * rows + i);
    }
    const uint32_t query_begin[] = {0, s_.rows}, page_begin[] = {0, limits().pages};
    tw_step_t step = TW_STEP_INIT;
    step.rows = s_.rows;
    step.sequences = 1;
    step.positions = positions.data();
    step.slots = slots.data();
    step.query_begin = query_begin;
    step.page_begin = page_begin;
    step.pages = pages_.data();
    step.first_layer = s_.first_layer;
    step.last_layer = s_.last_layer;
    if (s_.first_layer == 0) step.tokens = tokens.data();
    if (s_.first_layer != 0) step.hidden_in = hidden.data();
    const bool head = s_.logits || s_.sampled;
    if (!head) step.hidden_out = result->rows.data();
    step.logit_rows = head ? s_.rows : 0;
    step.logit_row = logit_row_.data();
    if (s_.logits) {
      step.logits_to = TW_LOGITS_TO_ALL;
      step.logits = result->rows.data();
    }
    if (s_.sampled) {
      step.sampling = sampling_.data();
      step.sampled = result->tokens.data();
    }
    return tw_model_step(model_, &step, nullptr);
  }

 private:
  const Scenario s_;
  const tw_model_t model_;
  std::vector<uint32_t> logit_row_, pages_;
  std::vector<tw_sampling_t> sampling_;
};

// ---- A trial ----

enum End : int { kGood = 0, kWrong = 3, kFailed };

std::string text_of(int end) {
  if (end == kGood) return "nothing went wrong";
  if (end == kWrong) return "other results";
  if (end == kFailed) return "an error";
  if (end == kRaceReported) return "a race";
  return "its process ended with " + std::to_string(end);
}

std::vector<Tempo> tempos(int workers) {
  std::vector<Tempo> list = {
      {}, {0, -1, kWaits}, {1, -1, kWaits}, {0, -1, kSignals}, {1, -1, kSignals}};
  if (workers > 1) {
    list.push_back({0, 0, kSignals});
    list.push_back({1, 0, kWaits});
    list.push_back({0, 1, kWaits});
  }
  return list;
}

/// Runs a scenario in every tempo; ends the process at the first bad end. With `write` its results
/// go to `expected`.
void run_scenario(size_t index, Results& expected, bool write) {
  const Scenario& s = kScenarios[index];
  ModelRanksShape shape{kRanks, s.workers, limits()};
  ModelRanks model(random_model(config(), 5), shape);
  for (const Tempo& tempo : tempos(s.workers)) {
    hook.tempo = tempo;
    std::array<std::array<Result, kSteps>, kRanks> got;
    model.ranks().run([&](int rank, tw_comm_t) {
      Steps steps(s, model.model(rank));
      for (int i = 0; i < kSteps; ++i)
        if (steps.run(i, &got[static_cast<size_t>(rank)][static_cast<size_t>(i)]) != TW_OK)
          std::_Exit(kFailed);
    });
    if (write && tempo.rank < 0) expected[index] = got[0];
    for (const auto& of_rank : got)
      if (std::memcmp(&of_rank, &expected[index], sizeof of_rank) != 0) std::_Exit(kWrong);
  }
}

/// Ranks come with different steps, in which nobody stores to a peer: all ranks are told how they
/// differ, which takes that each has written down what it is in.
void run_mismatch() {
  hook.tempo = {};
  ModelRanks model(random_model(config(), 5), {kRanks, 1, limits()});
  model.ranks().run([&](int rank, tw_comm_t) {
    const Scenario differing{3 + static_cast<uint32_t>(rank), 1, 1, 1, false, false};
    Result result;
    if (Steps(differing, model.model(rank)).run(0, &result) != TW_ERROR_MISMATCH)
      std::_Exit(kWrong);
    const std::string said = tw_last_error();
    for (const char* rows : {"rows 3", "rows 4"})
      if (said.find(rows) == std::string::npos) std::_Exit(kWrong);
  });
}

void prepare_child() {
  setenv("TW_DEVICE_TARGET", "cpu_portable", 1);
  setenv("TW_COMM_TIMEOUT_MS", "1500", 1);
  hook.nap_us = 1000;
}

constexpr int kAtOnce = 12;

/// What goes on in the scenarios when nothing is left out.
struct Known {
  InSharedMemory<Results> expected;
  std::vector<Place> places;
  std::vector<int> ends;
};
const Known& known() {
  static const Known* const made = [] {
    auto* const k = new Known;
    const InSharedMemory<std::array<Record, std::size(kScenarios)>> records;
    k->ends = run_children(static_cast<int>(std::size(kScenarios)), kAtOnce, [&](int i) {
      prepare_child();
      hook.record = &(*records)[static_cast<size_t>(i)];
      run_scenario(static_cast<size_t>(i), *k->expected, true);
      return kGood;
    });
    for (const Record& record : *records)
      for (const Place& place : std::vector<Place>(record.places, record.places + record.count))
        if (std::find(k->places.begin(), k->places.end(), place) == k->places.end())
          k->places.push_back(place);
    return k;
  }();
  return *made;
}

int run_all() {
  run_mismatch();
  for (size_t i = 0; i < std::size(kScenarios); ++i) run_scenario(i, *known().expected, false);
  return kGood;
}

/// Ops whose instructions wait for nothing in a Llama program, and one that it does not have.
bool is_idle(const TileSite& site) {
  const std::string op = enclosing_struct(site.file, site.line);
  return op == "RowsOp" || (site.op == "come" && (op == "EmbedOp" || op == "PlanAttentionOp"));
}

/// Meetings that other programs need. In a Llama program every rank waits for every rank's
/// embedding first, so whoever comes here has heard of all peers.
bool is_implied(const Place& place) {
  const std::string op = enclosing_struct(place.path(), place.line);
  const std::string line = source_line(place.file, place.line);
  const auto has = [&](const char* part) { return line.find(part) != std::string::npos; };
  return has("close()") ||
         (has("meet(") && (op == "GemmOp" || op == "HiddenOp" || op == "SampleLocalOp"));
}

TEST(ProgramSites, TheScenariosReachAllThatTheSourcesHave) {
  for (const int end : known().ends) ASSERT_EQ(end, kGood) << text_of(end);
  using Line = std::pair<std::string, int>;
  std::set<Line> reached, written;
  for (const Place& place : known().places) reached.insert({place.path(), place.line});
  const auto is_hidden = [](const std::string& file, int line) {
    return enclosing_struct(file, line) == "HiddenOp" &&
           source_line(file, line).find("meet(") != std::string::npos;
  };
  for (const TileSite& site : program_sites())
    if (!is_idle(site)) written.insert({site.file, site.line});
  EXPECT_GT(written.size(), 15U);
  for (const auto& [file, line] : written) {
    // A block's first meeting only when others took all that stores to peers before.
    if (is_hidden(file, line)) continue;
    EXPECT_EQ(reached.count({file, line}), 1U)
        << file << ":" << line << " is reached by no scenario: " << source_line(file, line);
  }
  for (const auto& [file, line] : reached)
    EXPECT_EQ(written.count({file, line}), 1U)
        << file << ":" << line << " is not found in the sources: " << source_line(file, line);
}

TEST(ProgramSites, EachIsNeeded) {
  const std::vector<Place>& places = known().places;
  const std::vector<int> ends =
      run_children(static_cast<int>(places.size()) + 1, kAtOnce, [&](int i) {
        prepare_child();
        if (i > 0) hook.removed = &places[static_cast<size_t>(i - 1)];
        return run_all();
      });
  ASSERT_EQ(ends[0], kGood) << "with nothing left out: " << text_of(ends[0]);
  for (size_t i = 0; i < places.size(); ++i) {
    const int end = ends[i + 1];
    std::printf("without the %s (%s): %s\n", places[i].text().c_str(),
                source_line(places[i].file, places[i].line).c_str(), text_of(end).c_str());
    if (is_implied(places[i])) continue;
    EXPECT_TRUE(end == kWrong || end == kFailed || end == kRaceReported)
        << "without the " << places[i].text() << ": " << text_of(end);
  }
}

#if defined(TW_SANITIZE_THREAD)
/// The release of each kind of signal, made a relaxed store: ThreadSanitizer reports it.
TEST(ProgramSites, EachReleaseIsNeeded) {
  constexpr Site kSites[] = {Site::kSignal, Site::kEntry};
  const std::vector<int> ends = run_children(2, 2, [&](int i) {
    prepare_child();
    relaxed = kSites[i];
    return run_all();
  });
  EXPECT_EQ(ends[0], kRaceReported) << "relaxed signals: " << text_of(ends[0]);
  EXPECT_EQ(ends[1], kRaceReported) << "relaxed entries: " << text_of(ends[1]);
}
#endif

}  // namespace
}  // namespace tw::test
