// Litmus tests of the PTX memory model. Threads of one block, of blocks of one GPU and of several
// GPUs do a few strong accesses each, again and again on other words. A reference interleaves the
// accesses in every way: what comes out must be among its outcomes, and every one of them must come
// out. Virtual GPUs are sequentially consistent, so outcomes that the model allows beyond these are
// not modelled; each test says whether there are any. Then message passing by every signal and wait
// at every scope: the race detector reports exactly what does not synchronise.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "tests/vgpu/gpu_test.h"

namespace tw::test {
namespace {

std::string report_file() { return ::testing::TempDir() + "tilewire_vgpu_litmus.jsonl"; }

// Read when the driver is loaded.
const bool kIsSet = [] {
  std::remove(report_file().c_str());
  ::setenv("TW_VGPU_RACES", "on", 1);
  ::setenv("TW_VGPU_REPORT", report_file().c_str(), 1);
  return true;
}();

int reports() {
  std::ifstream in(report_file());
  int lines = 0;
  for (std::string line; std::getline(in, line);) ++lines;
  return lines;
}

/// How far the threads are from each other, and scopes of the same names.
enum Distance { kCta, kGpu, kSys };
constexpr Distance kDistances[] = {kCta, kGpu, kSys};
const char* const kScopes[] = {"cta", "gpu", "sys"};

/// Up to the branch to the thread's own part, T<n>; only lane 0 of each warp gets there.
std::string joined(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view part : parts) text += part;
  return text;
}

std::string begin_of(int threads) {
  std::string text = ptx_head("sm_90") +
                     ".visible .entry test(.param .u64 memory, .param .u64 out, .param .u32 "
                     "first)\n{\n.reg .b64 %m, %o, %d; .reg .b32 %t, %n, %i, %r<8>; .reg .pred "
                     "%p;\nld.param.u64 %m, [memory]; ld.param.u64 %o, [out];\n"
                     "ld.param.u32 %n, [first]; mov.u32 %t, %ctaid.x; add.u32 %n, %n, %t;\n"
                     "mov.u32 %t, %tid.x; and.b32 %i, %t, 31; setp.ne.u32 %p, %i, 0;\n"
                     "@%p ret; shr.u32 %t, %t, 5; add.u32 %n, %n, %t; mov.u32 %i, 0;\n";
  for (int t = 0; t < threads; ++t)
    text += "setp.eq.u32 %p, %n, " + std::to_string(t) + "; @%p bra T" + std::to_string(t) + ";\n";
  return text + "ret;\n";
}

class Distant : public GpuTest {
 protected:
  static constexpr int kMost = 4;  // threads

  void SetUp() override {
    CUcontext contexts[kMost] = {};
    for (int i = 0; i < kMost; ++i) TW_CU(cu.cuDevicePrimaryCtxRetain(&contexts[i], i));
    for (int i = 0; i < kMost; ++i) {
      use(i);
      for (int j = 0; j < kMost; ++j)
        if (i != j) cu.cuCtxEnablePeerAccess(contexts[j], 0);
    }
    use(0);
  }

  /// Runs `test(memory, out, first)` of `text`, whose thread n has number first + its block's
  /// number + its warp's number, with `threads` threads so far from each other.
  void run(const std::string& text, int threads, Distance distance, CUdeviceptr memory,
           CUdeviceptr out) {
    for (int gpu = 0; gpu < (distance == kSys ? threads : 1); ++gpu) {
      use(gpu);
      uint32_t first = static_cast<uint32_t>(gpu);
      launch(function(load(text), "test"), distance == kGpu ? static_cast<unsigned>(threads) : 1,
             distance == kCta ? 32 * static_cast<unsigned>(threads) : 32, {&memory, &out, &first});
    }
    for (int gpu = (distance == kSys ? threads : 1); gpu-- > 0;) {
      use(gpu);
      synchronize();
    }
  }
};

// ---- Outcomes -------------------------------------------------------------------------------

struct Access {
  enum Kind { kLoad, kStore, kAdd /* its result is the value before */, kFence };
  Kind kind;
  int word = 0;
  uint32_t value = 0;  // kStore, kAdd
  const char* order = "relaxed";
};
using Thread = std::vector<Access>;

struct Litmus {
  const char* name;
  std::vector<Thread> threads;
  bool allows_more;  // than interleavings give: weak outcomes, not modelled
};

constexpr int kWords = 2, kResults = 6;
/// Results of loads and adds, thread by thread, then the words in the end.
using Outcome = std::vector<uint32_t>;

/// What every interleaving of what is left gives.
void interleave(const std::vector<Thread>& threads, std::vector<size_t> at,
                std::vector<std::vector<uint32_t>> results, std::vector<uint32_t> words,
                std::set<Outcome>* outcomes) {
  bool is_over = true;
  for (size_t t = 0; t < threads.size(); ++t) {
    if (at[t] == threads[t].size()) continue;
    is_over = false;
    const Access& access = threads[t][at[t]];
    std::vector<size_t> next = at;
    ++next[t];
    auto then = results;
    auto memory = words;
    uint32_t& word = memory[static_cast<size_t>(access.word)];
    if (access.kind == Access::kLoad || access.kind == Access::kAdd) then[t].push_back(word);
    if (access.kind == Access::kStore) word = access.value;
    if (access.kind == Access::kAdd) word += access.value;
    interleave(threads, next, then, memory, outcomes);
  }
  if (!is_over) return;
  Outcome outcome;
  for (const auto& of : results) outcome.insert(outcome.end(), of.begin(), of.end());
  outcome.insert(outcome.end(), words.begin(), words.end());
  outcomes->insert(outcome);
}

std::set<Outcome> interleavings(const Litmus& litmus) {
  std::set<Outcome> outcomes;
  interleave(litmus.threads, std::vector<size_t>(litmus.threads.size(), 0),
             std::vector<std::vector<uint32_t>>(litmus.threads.size()),
             std::vector<uint32_t>(kWords, 0), &outcomes);
  return outcomes;
}

/// Words of one repeat are 128 bytes apart from the next repeat's, and from each other 64; the last
/// word of the memory counts arrivals, relaxed: that orders nothing.
std::string text_of(const Litmus& litmus, int repeats, const char* scope) {
  const int threads = static_cast<int>(litmus.threads.size());
  std::string text = begin_of(threads);
  int result = 0;
  for (int t = 0; t < threads; ++t) {
    const std::string n = std::to_string(t);
    text += joined({"T", n, ":\nadd.u32 %r7, %i, 1; mul.lo.u32 %r7, %r7, ", std::to_string(threads),
                    ";\nred.relaxed.sys.global.add.u32 [%m], 1;\nW", n,
                    ": ld.relaxed.sys.global.u32 %r6, [%m]; setp.lt.u32 %p, %r6, %r7; @%p bra W", n,
                    ";\nmul.wide.u32 %d, %i, 128; add.s64 %d, %d, %m;\n"});
    int own = 0;
    for (const Access& a : litmus.threads[static_cast<size_t>(t)]) {
      const std::string at = "[%d+" + std::to_string(128 + 64 * a.word) + "]";
      const std::string how = std::string(".") + a.order + "." + scope;
      switch (a.kind) {
        case Access::kLoad:
          text += joined({"ld", how, ".global.u32 %r", std::to_string(own++), ", ", at, ";\n"});
          break;
        case Access::kStore:
          text += joined({"st", how, ".global.u32 ", at, ", ", std::to_string(a.value), ";\n"});
          break;
        case Access::kAdd:
          text += joined({"atom", how, ".global.add.u32 %r", std::to_string(own++), ", ", at, ", ",
                          std::to_string(a.value), ";\n"});
          break;
        case Access::kFence:
          text += "fence" + how + ";\n";
          break;
      }
    }
    text += "mul.wide.u32 %d, %i, " + std::to_string(4 * kResults) + "; add.s64 %d, %d, %o;\n";
    for (int r = 0; r < own; ++r, ++result)
      text +=
          "st.global.u32 [%d+" + std::to_string(4 * result) + "], %r" + std::to_string(r) + ";\n";
    text += "add.u32 %i, %i, 1; setp.lt.u32 %p, %i, " + std::to_string(repeats) + "; @%p bra T" +
            n + ";\nret;\n";
  }
  return text + "}\n";
}

Access load(int word, const char* order = "relaxed") { return {Access::kLoad, word, 0, order}; }
Access store(int word, uint32_t value, const char* order = "relaxed") {
  return {Access::kStore, word, value, order};
}
Access add(int word, uint32_t value) { return {Access::kAdd, word, value}; }
Access fence(const char* order) { return {Access::kFence, 0, 0, order}; }

std::vector<Litmus> litmus_tests() {
  constexpr int x = 0, y = 1;
  const char *rel = "release", *acq = "acquire", *sc = "sc", *both = "acq_rel";
  return {
      {"message passing", {{store(x, 1), store(y, 1, rel)}, {load(y, acq), load(x)}}, false},
      {"message passing by fences",
       {{store(x, 1), fence(both), store(y, 1)}, {load(y), fence(both), load(x)}},
       false},
      {"message passing, relaxed", {{store(x, 1), store(y, 1)}, {load(y), load(x)}}, true},
      {"message passing, signal relaxed",
       {{store(x, 1), store(y, 1)}, {load(y, acq), load(x)}},
       true},
      {"store buffering",
       {{store(x, 1), fence(sc), load(y)}, {store(y, 1), fence(sc), load(x)}},
       false},
      {"store buffering without sc",
       {{store(x, 1, rel), load(y, acq)}, {store(y, 1, rel), load(x, acq)}},
       true},
      {"store buffering, acq_rel",
       {{store(x, 1), fence(both), load(y)}, {store(y, 1), fence(both), load(x)}},
       true},
      {"load buffering",
       {{load(x, acq), store(y, 1, rel)}, {load(y, acq), store(x, 1, rel)}},
       false},
      {"load buffering, relaxed", {{load(x), store(y, 1)}, {load(y), store(x, 1)}}, true},
      {"independent reads of independent writes",
       {{store(x, 1)}, {store(y, 1)}, {load(x), fence(sc), load(y)}, {load(y), fence(sc), load(x)}},
       false},
      {"independent reads, acquire",
       {{store(x, 1)}, {store(y, 1)}, {load(x, acq), load(y, acq)}, {load(y, acq), load(x, acq)}},
       true},
      {"write to read causality",
       {{store(x, 1)}, {load(x), store(y, 1, rel)}, {load(y, acq), load(x)}},
       false},
      {"two writes twice",
       {{store(x, 1), fence(sc), store(y, 2)}, {store(y, 1), fence(sc), store(x, 2)}},
       false},
      {"coherence of reads", {{store(x, 1)}, {load(x), load(x)}}, false},
      {"coherence of a read and a write", {{store(x, 1)}, {load(x), store(x, 2)}}, false},
      {"adds", {{add(x, 1), add(x, 1)}, {add(x, 2)}, {add(x, 4)}}, false},
      {"a chain through an add",
       {{store(x, 1), store(y, 1, rel)}, {add(y, 2)}, {load(y, acq), load(x)}},
       false},
  };
}

class Outcomes : public Distant {
 protected:
  std::map<Outcome, int> outcomes_of(const Litmus& litmus, Distance distance) {
    use(0);
    const CUdeviceptr memory = upload(std::vector<uint32_t>(32 * (kRepeats + 2), 0));
    const CUdeviceptr out = upload(std::vector<uint32_t>(kResults * kRepeats, 99));
    run(text_of(litmus, kRepeats, kScopes[distance]), static_cast<int>(litmus.threads.size()),
        distance, memory, out);
    const auto words = download<uint32_t>(memory, 32 * (kRepeats + 2));
    const auto results = download<uint32_t>(out, kResults * kRepeats);
    size_t count = 0;
    for (const Thread& thread : litmus.threads)
      for (const Access& a : thread) count += a.kind == Access::kLoad || a.kind == Access::kAdd;
    std::map<Outcome, int> seen;
    for (size_t i = 0; i < kRepeats; ++i) {
      Outcome outcome(results.begin() + static_cast<ptrdiff_t>(kResults * i),
                      results.begin() + static_cast<ptrdiff_t>(kResults * i + count));
      for (size_t w = 0; w < kWords; ++w) outcome.push_back(words[32 * (i + 1) + 16 * w]);
      ++seen[outcome];
    }
    return seen;
  }
  /// Of rounds until each that can be has been seen: when the host is late with a launch, the
  /// threads of a round hardly overlap.
  std::map<Outcome, int> outcomes_until(const std::set<Outcome>& can_be, const Litmus& litmus,
                                        Distance distance) {
    constexpr int kRounds = 20;
    std::map<Outcome, int> seen;
    const auto is_seen = [&](const Outcome& outcome) { return seen.count(outcome) != 0; };
    for (int i = 0; i < kRounds && (i == 0 || !std::ranges::all_of(can_be, is_seen)); ++i)
      for (const auto& [outcome, times] : outcomes_of(litmus, distance)) seen[outcome] += times;
    return seen;
  }
  static constexpr size_t kRepeats = 500;
};

std::string text_of(const Outcome& outcome) {
  std::string text;
  for (const uint32_t value : outcome) text += std::to_string(value) + " ";
  return text;
}

TEST_F(Outcomes, AreThoseOfInterleavings) {
  for (const Litmus& litmus : litmus_tests()) {
    const std::set<Outcome> can_be = interleavings(litmus);
    for (const Distance distance : kDistances) {
      const std::string what = std::string(litmus.name) + ", " + kScopes[distance];
      const auto seen = outcomes_until(can_be, litmus, distance);
      for (const auto& [outcome, times] : seen)
        EXPECT_TRUE(can_be.count(outcome) != 0)
            << what << ": " << text_of(outcome) << times << " times"
            << (litmus.allows_more ? ": weak outcomes are modelled now, and to be listed" : "");
      for (const Outcome& outcome : can_be)
        EXPECT_TRUE(seen.count(outcome) != 0) << what << ": never " << text_of(outcome);
    }
  }
  EXPECT_EQ(reports(), 0) << "strong accesses that include each other are no races";
}

// ---- Message passing ------------------------------------------------------------------------

struct Way {
  const char* name;
  const char* text;  // $ is the scope; [%d+64] the flag
  bool orders;
  bool has_fence = false;  // after the wait, before the signal: it makes both of one between them
};

/// A weak store by thread 0, signalled; thread 1 waits, then reads. Or by way of a third thread,
/// between the two, that waits and signals on another word.
class MessagePassing : public Distant {
 protected:
  static std::string at_scope(std::string text, Distance scope, const char* flag) {
    for (size_t at; (at = text.find('$')) != std::string::npos;)
      text.replace(at, 1, kScopes[scope]);
    for (size_t at; (at = text.find('#')) != std::string::npos;) text.replace(at, 1, flag);
    return text;
  }
  static std::string wait_loop(const std::string& text, const char* label) {
    return std::string(label) + ": " + text + " setp.eq.u32 %p, %r0, 0; @%p bra " + label + ";\n";
  }
  bool is_reported(const std::string& text, int threads, Distance distance) {
    const int before = reports();
    use(0);
    const CUdeviceptr memory = upload(std::vector<uint32_t>(64, 0));
    const CUdeviceptr out = upload(std::vector<uint32_t>(1, 0));
    run(text, threads, distance, memory, out);
    EXPECT_EQ(download<uint32_t>(out, 1)[0], 7u);
    return reports() > before;
  }
  static std::string first(const std::string& signal) {
    return "T0:\nst.global.u32 [%m], 7;\n" + signal + "\nret;\n";
  }
  static std::string last(const std::string& wait, int number) {
    return "T" + std::to_string(number) + ":\n" + wait +
           "ld.global.u32 %r1, [%m]; st.global.u32 [%o], %r1;\nret;\n";
  }
};

const Way kSignals[] = {
    {"st.relaxed", "st.relaxed.$.global.u32 [%m+#], 1;", false},
    {"st.volatile", "st.volatile.global.u32 [%m+#], 1;", false},
    {"st.release", "st.release.$.global.u32 [%m+#], 1;", true},
    {"fence.acq_rel", "fence.acq_rel.$; st.relaxed.$.global.u32 [%m+#], 1;", true, true},
    {"fence.sc", "fence.sc.$; st.relaxed.$.global.u32 [%m+#], 1;", true, true},
    {"fence after", "st.relaxed.$.global.u32 [%m+#], 1; fence.acq_rel.$;", false},
    {"red.release", "red.release.$.global.add.u32 [%m+#], 1;", true},
    {"atom.relaxed", "atom.relaxed.$.global.exch.b32 %r0, [%m+#], 1;", false},
    {"atom.acquire", "atom.acquire.$.global.exch.b32 %r0, [%m+#], 1;", false},
};
const Way kWaits[] = {
    {"ld.relaxed", "ld.relaxed.$.global.u32 %r0, [%m+#];", false},
    {"ld.volatile", "ld.volatile.global.u32 %r0, [%m+#];", false},
    {"ld.acquire", "ld.acquire.$.global.u32 %r0, [%m+#];", true},
    {"fence.acq_rel", "ld.relaxed.$.global.u32 %r0, [%m+#]; fence.acq_rel.$;", true, true},
    {"fence.sc", "ld.relaxed.$.global.u32 %r0, [%m+#]; fence.sc.$;", true, true},
    {"fence before", "fence.acq_rel.$; ld.relaxed.$.global.u32 %r0, [%m+#];", false},
    {"atom.acquire", "atom.acquire.$.global.add.u32 %r0, [%m+#], 0;", true},
    {"atom.release", "atom.release.$.global.add.u32 %r0, [%m+#], 0;", false},
};

TEST_F(MessagePassing, IsReportedUnlessBothSidesSynchroniseAtAScopeThatHoldsBoth) {
  for (const Distance distance : kDistances)
    for (const Way& signal : kSignals)
      for (const Way& wait : kWaits)
        for (const Distance signal_scope : kDistances)
          for (const Distance wait_scope : kDistances) {
            const std::string text =
                begin_of(2) + first(at_scope(signal.text, signal_scope, "64")) +
                last(wait_loop(at_scope(wait.text, wait_scope, "64"), "W"), 1) + "}\n";
            const bool is_right =
                signal.orders && wait.orders && signal_scope >= distance && wait_scope >= distance;
            EXPECT_EQ(is_reported(text, 2, distance), !is_right)
                << signal.name << "." << kScopes[signal_scope] << " and " << wait.name << "."
                << kScopes[wait_scope] << ", threads in one " << kScopes[distance];
          }
}

/// What the one in the middle has acquired it releases.
TEST_F(MessagePassing, IsCumulative) {
  for (const Distance distance : kDistances)
    for (const Distance scope : kDistances)
      for (const Way& wait : kWaits)
        for (const Way& signal : kSignals) {
          const std::string acquire = "ld.acquire.sys.global.u32 %r0, [%m+128];";
          const std::string text = begin_of(3) + first("st.release.sys.global.u32 [%m+64], 1;") +
                                   "T1:\n" + wait_loop(at_scope(wait.text, scope, "64"), "W1") +
                                   at_scope(signal.text, scope, "128") + "\nret;\n" +
                                   last(wait_loop(acquire, "W2"), 2) + "}\n";
          const bool is_right = (wait.orders || signal.has_fence) &&
                                (signal.orders || wait.has_fence) && scope >= distance;
          EXPECT_EQ(is_reported(text, 3, distance), !is_right)
              << wait.name << " and " << signal.name << "." << kScopes[scope] << ", threads in one "
              << kScopes[distance];
        }
}

/// Read-modify-writes hand on what a word's release gave them; a store does not.
TEST_F(MessagePassing, PassesThroughReadModifyWrites) {
  const std::string release = "st.release.sys.global.u32 [%m+64], 1;";
  // The load that acquires reads what the one in the middle wrote, and nothing before it.
  const std::string wait = wait_loop(
                               "ld.relaxed.sys.global.u32 %r0, [%m+64]; setp.ge.u32 %p, %r0, 2; "
                               "selp.u32 %r0, 1, 0, %p;",
                               "W2") +
                           "ld.acquire.sys.global.u32 %r0, [%m+64];\n";
  const std::string seen = wait_loop("ld.relaxed.sys.global.u32 %r0, [%m+64];", "W1");
  const auto text = [&](const char* middle) {
    return begin_of(3) + first(release) + "T1:\n" + seen + middle + "\nret;\n" + last(wait, 2) +
           "}\n";
  };
  for (const Distance distance : kDistances) {
    EXPECT_FALSE(is_reported(text("red.relaxed.sys.global.add.u32 [%m+64], 1;"), 3, distance))
        << kScopes[distance];
    EXPECT_TRUE(is_reported(text("st.relaxed.sys.global.u32 [%m+64], 2;"), 3, distance))
        << kScopes[distance];
  }
}

}  // namespace
}  // namespace tw::test
