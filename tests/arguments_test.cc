// Every entry point with every kind of bad argument: a status, a sentence with the value and what
// is valid, and a comm that still works.
#include <gtest/gtest.h>

#include <cstddef>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/runner/ranks.h"
#include "tests/support/bad_calls.h"

namespace tw::test {
namespace {

std::string text_of(const char* path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

/// A collective with the buffers, type and comm as parameters: each gets the same kinds of bad
/// ones.
struct Collective {
  const char* name;
  std::function<tw_status_t(const void*, void*, size_t, tw_type_t, tw_comm_t, tw_stream_t)> call;
};

std::vector<Collective> collectives() {
#define COLLECTIVE(name, ...)                                                             \
  {                                                                                       \
    name, [](const void* s, void* r, size_t n, tw_type_t t, tw_comm_t c, tw_stream_t q) { \
      return __VA_ARGS__;                                                                 \
    }                                                                                     \
  }
  return {
      COLLECTIVE("all_reduce", tw_all_reduce(s, r, n, t, TW_SUM, c, q)),
      COLLECTIVE("reduce", tw_reduce(s, r, n, t, TW_SUM, 0, c, q)),
      COLLECTIVE("broadcast", tw_broadcast(s, r, n, t, 0, c, q)),
      COLLECTIVE("all_gather", tw_all_gather(s, r, n, t, c, q)),
      COLLECTIVE("reduce_scatter", tw_reduce_scatter(s, r, n, t, TW_SUM, c, q)),
      COLLECTIVE("all_to_all", tw_all_to_all(s, r, n, t, c, q)),
      COLLECTIVE("gather", tw_gather(s, r, n, t, 0, c, q)),
      COLLECTIVE("scatter", tw_scatter(s, r, n, t, 0, c, q)),
  };
#undef COLLECTIVE
}

void add_collectives(std::vector<BadCall>& rows) {
  static std::vector<std::string> names;
  names.reserve(256);
  const auto add = [&](const Collective& c, const char* what, tw_status_t status,
                       std::vector<std::string> says, auto call) {
    names.push_back(std::string(c.name) + ": " + what);
    rows.push_back({names.back().c_str(), status, std::move(says),
                    [c, call](World& w) { return call(c, w); }});
  };
  for (const Collective& c : collectives()) {
    using C = const Collective&;
    add(c, "null send", kArgument, {"send", "NULL"},
        [](C f, World& w) { return f.call(nullptr, w.b, 4, TW_FP32, w.comm, nullptr); });
    add(c, "null recv", kArgument, {"recv", "NULL"},
        [](C f, World& w) { return f.call(w.a, nullptr, 4, TW_FP32, w.comm, nullptr); });
    add(c, "type -1", kArgument, {"-1", "valid"},
        [](C f, World& w) { return f.call(w.a, w.b, 4, type_of(-1), w.comm, nullptr); });
    add(c, "type 12", kArgument, {"12", "valid"},
        [](C f, World& w) { return f.call(w.a, w.b, 4, type_of(12), w.comm, nullptr); });
    add(c, "overflowing count", kArgument, {"overflow"},
        [](C f, World& w) { return f.call(w.a, w.b, SIZE_MAX / 2, TW_FP64, w.comm, nullptr); });
    add(c, "count at the limit", kArgument, {"overflow"},
        [](C f, World& w) { return f.call(w.a, w.b, SIZE_MAX, TW_INT8, w.comm, nullptr); });
    add(c, "partial overlap", kArgument, {"overlap", "valid"},
        [](C f, World& w) { return f.call(w.a, w.a + 1, 8, TW_FP32, w.comm, nullptr); });
    add(c, "null comm", kHandle, {"comm"},
        [](C f, World& w) { return f.call(w.a, w.b, 4, TW_FP32, nullptr, nullptr); });
    add(c, "destroyed comm", kHandle, {"comm"},
        [](C f, World& w) { return f.call(w.a, w.b, 4, TW_FP32, w.dead_comm, nullptr); });
    add(c, "foreign comm", kHandle, {"comm"},
        [](C f, World& w) { return f.call(w.a, w.b, 4, TW_FP32, foreign<tw_comm_t>(w), nullptr); });
    add(c, "destroyed stream", kHandle, {"stream"},
        [](C f, World& w) { return f.call(w.a, w.b, 4, TW_FP32, w.comm, w.dead_stream); });
    add(c, "foreign stream", kHandle, {"stream"},
        [](C f, World& w) { return f.call(w.a, w.b, 4, TW_FP32, w.comm, w.foreign); });
  }
}

class Arguments : public ::testing::Test {
 protected:
  static World make(const ThreadRanks& ranks) {
    World w;
    w.comm = ranks.comm(0);
    ranks.run([&](int rank, tw_comm_t comm) {
      tw_window_t window, dead_window;
      tw_signals_t signals, dead_signals;
      ASSERT_EQ(tw_window_create(comm, 4096, &window), TW_OK) << tw_last_error();
      ASSERT_EQ(tw_window_create(comm, 64, &dead_window), TW_OK) << tw_last_error();
      ASSERT_EQ(tw_window_destroy(dead_window), TW_OK) << tw_last_error();
      ASSERT_EQ(tw_signals_create(comm, 4, &signals), TW_OK) << tw_last_error();
      ASSERT_EQ(tw_signals_create(comm, 1, &dead_signals), TW_OK) << tw_last_error();
      ASSERT_EQ(tw_signals_destroy(dead_signals), TW_OK) << tw_last_error();
      if (rank == 0) {
        w.window = window;
        w.dead_window = dead_window;
        w.signals = signals;
        w.dead_signals = dead_signals;
      } else {
        other_window_ = window;
        other_signals_ = signals;
      }
    });
    tw_comm_t gone;
    EXPECT_EQ(tw_comm_create_all(1, nullptr, &gone), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_comm_destroy(gone), TW_OK) << tw_last_error();
    w.dead_comm = gone;
    EXPECT_EQ(tw_stream_create(nullptr, &w.dead_stream), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_stream_destroy(w.dead_stream), TW_OK) << tw_last_error();
    return w;
  }

  static void end(const ThreadRanks& ranks, const World& w) {
    ranks.run([&](int rank, tw_comm_t) {
      EXPECT_EQ(tw_window_destroy(rank == 0 ? w.window : other_window_), TW_OK) << tw_last_error();
      EXPECT_EQ(tw_signals_destroy(rank == 0 ? w.signals : other_signals_), TW_OK)
          << tw_last_error();
    });
  }

  /// An all-reduce of both ranks, from one thread.
  static void expect_works(const ThreadRanks& ranks, const char* after) {
    float in[2][3] = {{1, 2, 3}, {10, 20, 30}};
    float out[2][3] = {{-1, -1, -1}, {-1, -1, -1}};
    ASSERT_EQ(tw_group_begin(), TW_OK);
    for (int r = 0; r < 2; ++r)
      ASSERT_EQ(tw_all_reduce(in[r], out[r], 3, TW_FP32, TW_SUM, ranks.comm(r), nullptr), TW_OK)
          << after << ": " << tw_last_error();
    ASSERT_EQ(tw_group_end(), TW_OK) << after << ": " << tw_last_error();
    for (const auto& row : out)
      for (int i = 0; i < 3; ++i) ASSERT_EQ(row[i], 11 * (i + 1)) << after;
  }

  static inline tw_window_t other_window_;
  static inline tw_signals_t other_signals_;
};

/// A sentence without the function's name, which holds the names of many arguments.
std::string without_function(const std::string& sentence) {
  static const std::regex function("^tw_[a-z_]+: ");
  return std::regex_replace(sentence, function, "");
}

TEST_F(Arguments, EveryEntryPointHasARow) {
  const std::set<std::string> none_to_check = {"tw_describe",   "tw_fail",        "tw_group_begin",
                                               "tw_last_error", "tw_status_name", "tw_version"};
  const std::string header = text_of("include/tilewire.h") + text_of("include/tilewire/model.h") +
                             text_of("include/tilewire/program.h");
  const std::string rows =
      text_of("tests/support/bad_calls.cc") + text_of("tests/arguments_test.cc") +
      text_of("tests/gemm_arguments_test.cc") + text_of("tests/support/gemm_call.cc") +
      text_of("tests/model_api_test.cc") + text_of("tests/program_api_test.cc");
  const std::regex declaration("TW_API[^;(]*\\b(tw_[a-z0-9_]+)\\(");
  int found = 0;
  for (std::sregex_iterator it(header.begin(), header.end(), declaration), end; it != end; ++it) {
    const std::string name = (*it)[1];
    ++found;
    if (none_to_check.count(name) == 0) {
      EXPECT_NE(rows.find(name + "("), std::string::npos) << name;
    }
  }
  EXPECT_GT(found, 50);
}

TEST_F(Arguments, EveryBadOneIsNamedAndTheCommStillWorks) {
  std::vector<BadCall> rows = bad_calls();
  add_collectives(rows);
  const ThreadRanks ranks(2);
  World w = make(ranks);
  for (const BadCall& row : rows) {
    const tw_status_t status = row.call(w);
    const std::string sentence = without_function(tw_last_error());
    EXPECT_EQ(status, row.status) << row.name << ": " << tw_status_name(status) << ", " << sentence;
    EXPECT_FALSE(sentence.empty()) << row.name;
    for (const std::string& text : row.says)
      EXPECT_NE(sentence.find(text), std::string::npos)
          << row.name << ": \"" << sentence << "\" does not say \"" << text << '"';
    ASSERT_NO_FATAL_FAILURE(expect_works(ranks, row.name));
  }
  end(ranks, w);
}

TEST_F(Arguments, StructsOfOtherVersions) {
  // A shorter struct: what an older header knew; the rest is default.
  EXPECT_EQ(create_with([](LongConfig& c) {
              c.config.size = offsetof(tw_comm_config_t, timeout_ms);
              c.config.timeout_ms = -77;
            }),
            TW_OK)
      << tw_last_error();
  // A longer one whose unknown part is zero.
  EXPECT_EQ(create_with([](LongConfig& c) { c.config.size = sizeof c; }), TW_OK) << tw_last_error();
}

TEST_F(Arguments, ZeroCountsNeedNoBuffers) {
  const ThreadRanks ranks(2);
  ranks.run([](int, tw_comm_t comm) {
    EXPECT_EQ(tw_all_reduce(nullptr, nullptr, 0, TW_FP32, TW_SUM, comm, nullptr), TW_OK)
        << tw_last_error();
    EXPECT_EQ(tw_all_gather(nullptr, nullptr, 0, TW_INT8, comm, nullptr), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_all_to_all(nullptr, nullptr, 0, TW_FP64, comm, nullptr), TW_OK) << tw_last_error();
  });
}

}  // namespace
}  // namespace tw::test
