// Derived waits and the check of programs, against an explorer that goes through every order in
// which the instructions of two launches can be done.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/program/check.h"
#include "lib/program/derive.h"
#include "lib/program/image.h"
#include "lib/program/interleave.h"
#include "lib/program/parts.h"

namespace tw {
namespace {

/// What check_program says; empty when it accepts.
std::string refusal(const Program& program) {
  try {
    check_program(program);
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), TW_ERROR_INVALID_ARGUMENT);
    return error.what();
  }
  return "";
}

// ---- The explorer ----

bool share(const Access& a, const Access& b) {
  const Region &x = a.region, &y = b.region;
  if (!a.writes && !b.writes) return false;
  if (x.device != y.device || x.tensor != y.tensor) return false;
  for (size_t i = 0; i < x.rows; ++i)
    for (size_t j = 0; j < x.cols; ++j)
      if (x.row + i >= y.row && x.row + i < y.row + y.rows && x.col + j >= y.col &&
          x.col + j < y.col + y.cols)
        return true;
  return false;
}

bool conflict(const Instruction& a, const Instruction& b) {
  for (const Access& x : a.accesses)
    for (const Access& y : b.accesses)
      if (share(x, y)) return true;
  return false;
}

struct Outcome {
  bool race = false;
  bool deadlock = false;
  bool good() const { return !race && !deadlock; }
};

/// Two launches with as many blocks as there are instructions. Instruction i of launch e is number
/// e * n + i; a state is the set of those that are done.
class Explorer {
 public:
  explicit Explorer(const Program& program)
      : program_(program), n_(program.instructions.size()), seen_(size_t{1} << 2 * n_) {}

  Outcome run() {
    std::vector<uint32_t> states = {0};
    seen_[0] = true;
    while (!states.empty()) {
      const uint32_t state = states.back();
      states.pop_back();
      bool any = false;
      for (size_t i = 0; i < 2 * n_; ++i) {
        if (is_done(state, i) || !can_start(state, i)) continue;
        any = true;
        for (size_t other = 0; other < i; ++other)
          outcome_.race |= !is_done(state, other) && conflict(at(i), at(other));
        const uint32_t next = state | 1U << i;
        if (!seen_[next]) states.push_back(next);
        seen_[next] = true;
      }
      outcome_.deadlock |= !any && state + 1 != 1U << 2 * n_;
    }
    return outcome_;
  }

 private:
  const Instruction& at(size_t i) const { return program_.instructions[i < n_ ? i : i - n_]; }
  static bool is_done(uint32_t state, size_t i) { return (state >> i & 1) != 0; }

  /// Whether the launch before is over on `device` when `instruction` starts.
  bool is_over_before(int device, const Instruction& instruction) const {
    bool over = device == instruction.device;
    for (const Access& access : instruction.accesses)
      over |= program_.meets && access.region.device == device;
    return over;
  }

  bool can_start(uint32_t state, size_t i) const {
    for (size_t other = 0; i >= n_ && other < n_; ++other)
      if (is_over_before(at(other).device, at(i)) && !is_done(state, other)) return false;
    for (const Wait& wait : at(i).waits) {
      const Counter& counter = program_.counters[static_cast<size_t>(wait.counter)];
      int64_t value = 0;
      for (size_t other = 0; other < 2 * n_; ++other)
        for (const int c : at(other).raises)
          value += c == wait.counter && is_done(state, other) ? 1 : 0;
      const int64_t launch = i < n_ ? 0 : 1;
      if (value < (launch - wait.launches_ago) * counter.raises + wait.count) return false;
    }
    return true;
  }

  const Program& program_;
  const size_t n_;
  std::vector<bool> seen_;
  Outcome outcome_;
};

Outcome explore(const Program& program) { return Explorer(program).run(); }

// ---- Random programs ----

using Random = std::mt19937;

size_t below(Random& random, size_t n) { return random() % n; }

Region random_region(Random& random, int device, int tensor) {
  constexpr size_t kSide = 3;
  const size_t row = below(random, kSide), col = below(random, kSide);
  return {device, tensor, row, below(random, kSide - row + 1), col, 1 + below(random, kSide - col)};
}

/// Instructions that read one region and write one, of any device. Without waits.
Program random_program(Random& random) {
  Program p;
  p.devices = 1 + static_cast<int>(below(random, 3));
  p.tensors = {{"x", 3, 3}, {"y", 3, 3}};
  p.ops = {"first", "second"};
  const auto devices = static_cast<size_t>(p.devices);
  const size_t count = 2 + below(random, 5);
  for (size_t i = 0; i < count; ++i) {
    Instruction instruction;
    instruction.device = static_cast<int>(below(random, devices));
    instruction.op = static_cast<int>(below(random, 2));
    for (const bool writes : {false, true})
      instruction.accesses.push_back(
          {random_region(random, static_cast<int>(below(random, devices)),
                         static_cast<int>(below(random, 2))),
           writes});
    p.instructions.push_back(instruction);
  }
  return p;
}

/// Waits and raises without regard to what is needed; of those for counters that are raised later,
/// and for part of the raises, there are some if `wild`.
void add_random_waits(Random& random, Program* p, bool wild) {
  const size_t count = p->instructions.size(), first = p->counters.size();
  for (size_t c = first, end = first + 1 + below(random, 5); c < end; ++c) {
    const int device = p->instructions[below(random, count)].device;
    Counter counter{device, 0, {}};
    for (int d = 0; d < p->devices; ++d) counter.told.push_back(d);
    size_t last = 0;
    for (size_t i = 0; i < count; ++i)
      if (p->instructions[i].device == device && below(random, 2) == 0) {
        p->instructions[i].raises.push_back(static_cast<int>(c));
        ++counter.raises;
        last = i;
      }
    p->counters.push_back(counter);
    for (size_t i = 0; i < count; ++i) {
      if (counter.raises == 0 || below(random, 2) == 0) continue;
      const int ago = below(random, 3) == 0 ? 1 : 0;
      if (!wild && ago == 0 && i <= last) continue;
      const uint32_t less = wild && below(random, 3) == 0 ? 1 : 0;
      p->instructions[i].waits.push_back({static_cast<int>(c), counter.raises - less, ago});
    }
  }
}

// ---- Changes that make a right program wrong ----

void for_each_wait(
    const Program& program,
    const std::function<void(Instruction* changed, Program* whole, size_t wait)>& f) {
  for (size_t i = 0; i < program.instructions.size(); ++i)
    for (size_t w = 0; w < program.instructions[i].waits.size(); ++w) {
      Program changed = program;
      f(&changed.instructions[i], &changed, w);
    }
}

/// Instruction i no longer raises its r-th counter, and nobody waits for that.
Program without_raise(Program program, size_t i, size_t r) {
  std::vector<int>& raises = program.instructions[i].raises;
  const int counter = raises[r];
  raises.erase(raises.begin() + static_cast<ptrdiff_t>(r));
  --program.counters[static_cast<size_t>(counter)].raises;
  for (Instruction& instruction : program.instructions)
    for (Wait& wait : instruction.waits) wait.count -= wait.counter == counter ? 1 : 0;
  return program;
}

void expect_wrong(const Program& program, const std::string& what) {
  EXPECT_TRUE(explore(program).race) << what;
  EXPECT_NE(refusal(program), "") << what;
}

constexpr int kPrograms = 3000;

// All pairs in a 4 x 4 tensor: an element is in what is left exactly when it is not in the other
// region; where the other leaves more than two rectangles, all of the first stays.
TEST(Program, RegionsWithoutOthers) {
  std::vector<Region> all;
  for (size_t row = 0; row <= 4; ++row)
    for (size_t rows = 0; row + rows <= 4; ++rows)
      for (size_t col = 0; col <= 4; ++col)
        for (size_t cols = 0; col + cols <= 4; ++cols) all.push_back({0, 0, row, rows, col, cols});
  const auto has = [](const Region& r, size_t row, size_t col) {
    return r.overlaps({0, 0, row, 1, col, 1});
  };
  for (const Region& r : all)
    for (const Region& other : all) {
      const auto rest = r.without(other);
      const bool cut = (other.row <= r.row && other.row + other.rows >= r.row + r.rows) ||
                       (other.col <= r.col && other.col + other.cols >= r.col + r.cols);
      for (size_t row = 0; row < 4; ++row)
        for (size_t col = 0; col < 4; ++col)
          ASSERT_EQ(has(rest[0], row, col) + has(rest[1], row, col),
                    has(r, row, col) && !(cut && has(other, row, col)) ? 1 : 0)
              << r.row << "+" << r.rows << ", " << r.col << "+" << r.cols << " without "
              << other.row << "+" << other.rows << ", " << other.col << "+" << other.cols;
    }
  const Region elsewhere{1, 0, 0, 4, 0, 4};
  EXPECT_EQ(all.back().without(elsewhere)[0].rows, all.back().rows);
}

TEST(Program, DerivedWaitsAreEnoughAndEachIsNeeded) {
  Random random(11);
  size_t waits = 0, across = 0, before = 0;
  for (int turn = 0; turn < kPrograms && !HasFailure(); ++turn) {
    Program program = random_program(random);
    derive_waits(&program);
    const std::string what = "program " + std::to_string(turn);
    EXPECT_TRUE(explore(program).good()) << what;
    EXPECT_EQ(refusal(program), "") << what;
    for_each_wait(program, [&](Instruction* changed, Program* whole, size_t w) {
      const Wait wait = changed->waits[w];
      ++waits;
      before += wait.launches_ago == 1 ? 1 : 0;
      changed->waits[w].count -= 1;
      expect_wrong(*whole, what + ", a wait lowered");
      changed->waits.erase(changed->waits.begin() + static_cast<ptrdiff_t>(w));
      expect_wrong(*whole, what + ", without a wait");
      Counter& counter = whole->counters[static_cast<size_t>(wait.counter)];
      if (counter.device == changed->device) return;
      ++across;
      changed->waits.push_back(wait);
      counter.told.clear();
      EXPECT_NE(refusal(*whole), "") << what << ", without telling";
    });
    for (size_t i = 0; i < program.instructions.size(); ++i)
      for (size_t r = 0; r < program.instructions[i].raises.size(); ++r)
        expect_wrong(without_raise(program, i, r), what + ", without a raise");
  }
  EXPECT_GT(waits, 3000U);
  EXPECT_GT(across, 1000U);
  EXPECT_GT(before, 300U);
}

TEST(Program, CheckAgreesWithTheExplorer) {
  Random random(12);
  int accepted = 0, refused = 0;
  for (int turn = 0; turn < 4 * kPrograms && !HasFailure(); ++turn) {
    const bool wild = turn % 2 == 1;
    Program program = random_program(random);
    if (turn % 3 == 0) derive_waits(&program);
    add_random_waits(random, &program, wild);
    const Outcome outcome = explore(program);
    const std::string refused_for = refusal(program);
    ++(refused_for.empty() ? accepted : refused);
    if (!outcome.good()) {
      EXPECT_NE(refused_for, "") << "program " << turn;
    } else if (!wild) {
      EXPECT_EQ(refused_for, "") << "program " << turn;
    }
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_GT(refused, 1000);
}

/// What is stored at another device, read there.
void add_takes(Program* program) {
  const std::vector<Instruction> all = program->instructions;
  for (const Instruction& instruction : all)
    for (const Access& access : instruction.accesses)
      if (access.region.device != instruction.device)
        program->instructions.push_back(
            {access.region.device, 0, {{access.region, !access.writes}}, {}, {}});
}

TEST(Program, WhoMeetsNeedsNoWaitForTheLaunchBefore) {
  Random random(13);
  size_t waits = 0, refused = 0;
  for (int turn = 0; turn < kPrograms && !HasFailure(); ++turn) {
    Program program = random_program(random);
    program.meets = true;
    if (program.instructions.size() > 3) program.instructions.resize(3);
    Program unnoticed = program;
    derive_waits(&unnoticed);
    refused += refusal(unnoticed).find("nothing there waits") != std::string::npos ? 1 : 0;
    add_takes(&program);
    derive_waits(&program);
    const std::string what = "program " + std::to_string(turn);
    EXPECT_TRUE(explore(program).good()) << what;
    EXPECT_EQ(refusal(program), "") << what;
    for_each_wait(program, [&](Instruction* changed, Program* whole, size_t w) {
      ++waits;
      EXPECT_EQ(changed->waits[w].launches_ago, 0) << what;
      changed->waits.erase(changed->waits.begin() + static_cast<ptrdiff_t>(w));
      EXPECT_TRUE(explore(*whole).race) << what;
      EXPECT_NE(refusal(*whole), "") << what;
    });
  }
  EXPECT_GT(waits, 1000U);
  EXPECT_GT(refused, 100U);
}

/// Instructions bound by memory go ahead, just as far as they may; the others stay in their order.
TEST(Program, InterleavedInstructionsKeepWhatTheyComeAfter) {
  Random random(15);
  size_t moved = 0;
  for (int turn = 0; turn < kPrograms && !HasFailure(); ++turn) {
    Program program = random_program(random);
    const size_t count = program.instructions.size(), distance = below(random, 3);
    const std::vector<Order> orders{below(random, 2) == 0 ? Order::kAhead : Order::kInPlace,
                                    Order::kAhead};
    const auto ahead = [&](size_t i) {
      return orders[static_cast<size_t>(program.instructions[i].op)] == Order::kAhead;
    };
    std::vector<size_t> place(count);
    for (size_t i = 0; i < count; ++i) {
      program.instructions[i].at[0] = static_cast<uint32_t>(i);
      for (size_t j = 0; j < i; ++j)
        if (conflict(program.instructions[j], program.instructions[i]))
          place[i] = std::max(place[i], place[j] + distance);
      place[i] = ahead(i) ? std::min(place[i], i) : i;
    }
    Program after = program;
    interleave(&after, orders, distance);
    ASSERT_EQ(after.instructions.size(), count);
    const auto number = [&](size_t i) { return size_t{after.instructions[i].at[0]}; };
    for (size_t i = 0; i < count; ++i) {
      EXPECT_EQ(after.instructions[i].op, program.instructions[number(i)].op);
      moved += number(i) > i ? 1 : 0;
      for (size_t j = i + 1; j < count; ++j) {
        const size_t a = number(i), b = number(j);
        EXPECT_TRUE(place[a] < place[b] || (place[a] == place[b] && a < b)) << "program " << turn;
        const bool fixed = !ahead(a) && !ahead(b);
        EXPECT_TRUE(a < b ||
                    (!fixed && !conflict(program.instructions[a], program.instructions[b])));
      }
    }
    derive_waits(&after);
    EXPECT_TRUE(explore(after).good()) << "program " << turn;
  }
  EXPECT_GT(moved, 1000U);
}

/// The parts of a program, each launched when the one before is over, are right by themselves, and
/// have its instructions in its order.
TEST(Program, PartsHaveOneOpEach) {
  Random random(14);
  for (int turn = 0; turn < 300 && !HasFailure(); ++turn) {
    Program program = random_program(random);
    program.meets = true;
    add_takes(&program);
    for (size_t i = 0; i < program.instructions.size(); ++i)
      program.instructions[i].at[0] = static_cast<uint32_t>(i);
    program.ops.emplace_back("take");
    derive_waits(&program);
    for (int d = 0; d < program.devices; ++d) {
      const ProgramImage whole = image_of(program, d);
      std::vector<uint32_t> of_parts, of_whole;
      for (const ProgramInstruction& i : whole.list) of_whole.push_back(i.at[0]);
      for (const ProgramImage& part : parts_of(program, 2, d))
        for (const ProgramInstruction& i : part.list)
          if (i.op != 2) of_parts.push_back(i.at[0]);
      EXPECT_EQ(of_parts, of_whole) << "program " << turn;
    }
  }
}

/// Device 0 writes x there and reads its own; device 1 reads what it got.
Program two_devices() {
  Program p;
  p.devices = 2;
  p.tensors = {{"x", 8, 4}};
  p.ops = {"put", "add"};
  p.instructions = {{0, 0, {{{1, 0, 0, 4, 0, 4}, true}}, {}, {}},
                    {0, 0, {{{1, 0, 4, 4, 0, 4}, true}}, {}, {}},
                    {1, 1, {{{1, 0, 0, 8, 0, 4}, false}}, {}, {}}};
  return p;
}

TEST(Program, ImagesSayWhoIsTold) {
  Program program = two_devices();
  program.meets = true;
  derive_waits(&program);
  const ProgramImage sender = image_of(program, 0), receiver = image_of(program, 1);
  ASSERT_EQ(sender.counters.size(), 1U);
  EXPECT_EQ(sender.counters[0].raises, 2U);
  EXPECT_EQ(sender.counters[0].told, 2U);
  EXPECT_EQ(sender.raises, (std::vector<uint32_t>{0, 0}));
  EXPECT_TRUE(sender.waits.empty());
  ASSERT_EQ(receiver.waits.size(), 1U);
  EXPECT_EQ(receiver.waits[0].sender, 0U);
  EXPECT_EQ(receiver.waits[0].counter, 0U);
  EXPECT_EQ(sender.slots, 1U);
  EXPECT_EQ(receiver.slots, 1U);

  program.instructions[2].waits[0].launches_ago = 1;
  EXPECT_THROW(image_of(program, 1), Error);
}

TEST(Program, RefusalsNameWhatIsWrong) {
  Program right = two_devices();
  EXPECT_EQ(refusal(right),
            "program refused: instruction 2 (add, device 1) does not wait for instruction 0 (put, "
            "device 0), whose memory it shares");
  derive_waits(&right);
  EXPECT_EQ(refusal(right), "");
  // Both puts are waited for together, and both wait for the last launch's reader.
  ASSERT_EQ(right.counters.size(), 2U);
  EXPECT_EQ(right.counters[0].raises, 2U);
  EXPECT_EQ(right.counters[0].told, std::vector<int>{1});

  const auto expect = [&](const std::function<void(Program*)>& change, const char* sentence) {
    Program wrong = right;
    change(&wrong);
    EXPECT_EQ(refusal(wrong), std::string("program refused: ") + sentence);
  };
  expect([](Program* p) { p->instructions[0].waits.clear(); },
         "instruction 0 (put, device 0) does not wait for instruction 2 (add, device 1) of the "
         "launch before, whose memory it shares");
  expect([](Program* p) { p->instructions[2].waits[0].count = 1; },
         "instruction 2 (add, device 1) does not wait for instruction 0 (put, device 0), whose "
         "memory it shares");
  expect([](Program* p) { p->instructions[2].waits[0].count = 3; },
         "instruction 2 (add, device 1) waits for 3 raises of counter 0; 2 come before it");
  expect([](Program* p) { std::swap(p->instructions[1], p->instructions[2]); },
         "instruction 1 (add, device 1) waits for 2 raises of counter 0; 1 come before it");
  expect([](Program* p) { p->counters[0].told.clear(); },
         "instruction 2 (add, device 1) waits for counter 0 of device 0, which does not tell "
         "device 1");
  expect([](Program* p) { p->instructions[1].raises.clear(); },
         "counter 0 is raised 1 times; it is said to be 2 times");
  expect([](Program* p) { p->counters[0].device = 1; },
         "instruction 0 (put, device 0) raises counter 0, which is not one of its device");
  expect([](Program* p) { p->instructions[2].waits[0].counter = 7; },
         "instruction 2 (add, device 1) waits for counter 7 of 0 launches ago; valid: 0 to 1, 0 or "
         "1");
  expect([](Program* p) { p->instructions[2].accesses[0].region.rows = 9; },
         "instruction 2 (add, device 1) reads rows 0 + 9, columns 0 + 4 of x, which has 8 rows and "
         "4 columns");
  expect([](Program* p) { p->instructions[0].accesses[0].region.col = SIZE_MAX; },
         "instruction 0 (put, device 0) writes rows 0 + 4, columns 18446744073709551615 + 4 of x, "
         "which has 8 rows and 4 columns");
  expect([](Program* p) { p->instructions[0].accesses[0].region.device = 2; },
         "instruction 0 (put, device 0) names device 2; valid: 0 to 1");
  expect([](Program* p) { p->instructions[0].accesses[0].region.tensor = -1; },
         "instruction 0 (put, device 0) names tensor -1; valid: 0 to 0");
  expect([](Program* p) { p->devices = 0; }, "0 devices; valid: at least 1");
}

/// A row of layers: each device multiplies its part for every tile, puts the partial sums to all,
/// every device adds them. Vectors and slots alternate.
Program layers(int devices, size_t tiles, size_t count) {
  Program p;
  p.devices = devices;
  const auto all = static_cast<size_t>(devices);
  p.tensors = {
      {"x", 1, tiles}, {"y", 1, tiles}, {"slots of x", all, tiles}, {"slots of y", all, tiles}};
  p.ops = {"multiply", "add"};
  for (size_t layer = 0; layer < count; ++layer) {
    const int from = static_cast<int>(layer % 2), to = 1 - from, slots = 2 + to;
    for (size_t tile = 0; tile < tiles; ++tile)
      for (int d = 0; d < devices; ++d) {
        Instruction multiply{d, 0, {{{d, from, 0, 1, 0, tiles}, false}}, {}, {}};
        for (int peer = 0; peer < devices; ++peer)
          multiply.accesses.push_back(
              {{peer, slots, static_cast<size_t>(d), 1, tile, 1}, /*writes=*/true});
        p.instructions.push_back(multiply);
      }
    for (size_t tile = 0; tile < tiles; ++tile)
      for (int d = 0; d < devices; ++d) {
        Instruction add{d, 1, {{{d, slots, 0, all, tile, 1}, false}}, {}, {}};
        add.accesses.push_back({{d, to, 0, 1, tile, 1}, /*writes=*/true});
        p.instructions.push_back(add);
      }
  }
  return p;
}

TEST(Program, AlternatingSlotsNeedNoAcknowledgement) {
  constexpr int kDevices = 4;
  constexpr size_t kTiles = 6, kLayers = 40;
  Program p = layers(kDevices, kTiles, kLayers);
  derive_waits(&p);
  EXPECT_EQ(refusal(p), "");
  for (size_t i = 0; i < p.instructions.size(); ++i) {
    const Instruction& instruction = p.instructions[i];
    // A product waits for the whole row, a sum for what each device has put.
    const size_t most = instruction.op == 0 ? 1 : kDevices;
    EXPECT_LE(instruction.waits.size(), most) << p.name_of(static_cast<int>(i));
    for (const Wait& wait : instruction.waits) EXPECT_EQ(wait.launches_ago, 0);
  }
  // One for each row of x that is read, and one a tile and device for what is put.
  EXPECT_LE(p.counters.size(), kLayers * kDevices * (1 + kTiles));
}

}  // namespace
}  // namespace tw
