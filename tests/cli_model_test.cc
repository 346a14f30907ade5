// The parts of tw_generate and tw_perplexity: pages, steps of a sequence, windows, options, and how
// ranks find each other.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "lib/cli/model/meeting.h"
#include "lib/cli/model/open.h"
#include "lib/cli/model/pages.h"
#include "lib/cli/model/ranks.h"
#include "lib/cli/model/sequence.h"
#include "lib/cli/tw_generate/options.h"
#include "lib/cli/tw_generate/synthetic.h"
#include "lib/cli/tw_perplexity/windows.h"
#include "tests/runner/ranks.h"
#include "tests/support/model_files.h"

namespace tw::cli {
namespace {

using test::ScopedEnv;

/// What `call` throws, "" when nothing.
std::string sentence_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

TEST(Pages, GrowShrinkAndRunOut) {
  PagePool pool(4);
  PageTable a(pool, 16);
  {
    PageTable b(pool, 16);
    a.resize(17);
    b.resize(16);
    a.resize(33);
    const std::set<uint32_t> all = {a.pages()[0], a.pages()[1], a.pages()[2], b.pages()[0]};
    EXPECT_EQ(all, (std::set<uint32_t>{0, 1, 2, 3}));
    EXPECT_EQ(a.slot(0), int64_t{a.pages()[0]} * 16);
    EXPECT_EQ(a.slot(31), int64_t{a.pages()[1]} * 16 + 15);
    EXPECT_THROW(b.resize(17), std::runtime_error);
    EXPECT_EQ(b.pages().size(), 1u);
  }
  EXPECT_EQ(pool.free(), 1u);
  a.resize(16);
  EXPECT_EQ(pool.free(), 3u);
  a.resize(0);
  EXPECT_EQ(pool.free(), 4u);
}

TEST(Sequence, StepsGoOnWhereTheLastEnded) {
  const tw_model_limits_t limits = limits_for(40, 8, 2);
  EXPECT_EQ(limits.pages, 3u);
  Sequence sequence(limits);
  const std::vector<int32_t> first = {5, 6, 7, 8, 9, 10, 11, 12};
  sequence.append(first, 0);
  sequence.append(first, 0);
  const std::vector<int32_t> last = {13, 14, 15};
  const tw_step_t step = sequence.append(last, 2);
  EXPECT_EQ(step.rows, 3u);
  EXPECT_EQ(step.sequences, 1u);
  ASSERT_EQ(step.logit_rows, 2u);
  EXPECT_EQ(step.logit_row[0], 1u);
  EXPECT_EQ(step.logit_row[1], 2u);
  EXPECT_EQ(step.query_begin[0], 0u);
  EXPECT_EQ(step.query_begin[1], 3u);
  EXPECT_EQ(step.page_begin[0], 0u);
  EXPECT_EQ(step.page_begin[1], 2u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(step.tokens[i], 13 + i);
    EXPECT_EQ(step.positions[i], 16 + i);
    EXPECT_EQ(step.slots[i], int64_t{step.pages[1]} * 16 + i);
  }
  sequence.cut(10);
  EXPECT_EQ(sequence.size(), 10u);
  EXPECT_EQ(sequence.append(last, 1).positions[0], 10);
  sequence.cut(0);
  for (int i = 0; i < 5; ++i) sequence.append(first, 0);
  EXPECT_THROW(sequence.append(last, 1), std::runtime_error);
  EXPECT_EQ(sequence.size(), 40u);
}

TEST(Sequence, LimitsAreNoMoreThanTheContextNeeds) {
  const tw_model_limits_t limits = limits_for(5, 512, 256);
  EXPECT_EQ(limits.rows, 5u);
  EXPECT_EQ(limits.logit_rows, 5u);
  EXPECT_EQ(limits.pages, 1u);
  EXPECT_EQ(limits.sequences, 1u);
}

TEST(Windows, WithoutOverlapAndWithTheFirstTokenReplaced) {
  const std::vector<int32_t> tokens = {10, 11, 12, 13, 14, 15, 16, 17, 18, 19};
  const Windows plain(tokens, 4, -1);
  ASSERT_EQ(plain.count(), 2u);  // two tokens are left out
  EXPECT_EQ(plain.window(1), (std::vector<int32_t>{14, 15, 16, 17}));
  const Windows with_bos(tokens, 4, 1);
  EXPECT_EQ(with_bos.window(0), (std::vector<int32_t>{1, 11, 12, 13}));
  EXPECT_EQ(with_bos.window(1), (std::vector<int32_t>{1, 15, 16, 17}));
  EXPECT_EQ(Windows({1, 2, 3}, 4, -1).count(), 0u);
  EXPECT_EQ(first_scored(512), 256u);
}

TEST(Windows, SurpriseIsTheLogOfTheSoftmax) {
  const std::vector<float> logits = {1, 2, 3, 1000};
  EXPECT_NEAR(surprise(logits, 3), 0, 1e-12);
  EXPECT_NEAR(surprise(logits, 0), 999, 1e-9);
  const std::vector<float> even(8, -5);
  Perplexity perplexity;
  perplexity.add(surprise(even, 2));
  EXPECT_NEAR(perplexity.value(), 8, 1e-12);
  perplexity.add(std::log(2));
  EXPECT_NEAR(perplexity.value(), 4, 1e-12);
  EXPECT_EQ(perplexity.count(), 2u);
}

int parse(std::vector<const char*> arguments, GenerateOptions* options) {
  arguments.insert(arguments.begin(), "tw_generate");
  return parse_generate(static_cast<int>(arguments.size()), arguments.data(), false, options);
}

TEST(Options, AreReadAndGoTogether) {
  GenerateOptions o;
  EXPECT_EQ(parse({"-m", "x.gguf", "-p", "", "-n", "7", "--temp", "0", "--top-k", "3", "--top-p",
                   "0.5", "--seed", "18446744073709551615", "--stats", "--compare", "--ranks", "4"},
                  &o),
            -1);
  EXPECT_EQ(o.model, "x.gguf");
  EXPECT_TRUE(o.has_prompt);
  EXPECT_EQ(o.n, 7);
  EXPECT_EQ(o.temperature, 0);
  EXPECT_EQ(o.top_k, 3);
  EXPECT_EQ(o.top_p, 0.5F);
  EXPECT_EQ(o.seed, UINT64_MAX);
  EXPECT_TRUE(o.stats && o.compare);
  EXPECT_EQ(o.ranks, 4);
  const std::vector<std::vector<const char*>> good = {
      {"-m", "x", "--chat"},
      {"-m", "x", "--chat", "-p", "Hi"},
      {"-m", "x", "-f", "-"},
      {"--synthetic", "llama-70b", "--layers", "1", "--prompt-tokens", "3"}};
  for (const auto& arguments : good) {
    GenerateOptions other;
    EXPECT_EQ(parse(arguments, &other), -1) << arguments[0] << " " << arguments[1];
  }
}

TEST(Options, WhatContradictsIsRefused) {
  const std::vector<std::vector<const char*>> bad = {{},
                                                     {"-m", "x"},
                                                     {"-p", "Hi"},
                                                     {"-m", "x", "-p", "Hi", "-f", "y"},
                                                     {"-m", "x", "--synthetic", "llama-8b"},
                                                     {"--synthetic", "llama-9b"},
                                                     {"--synthetic", "llama-8b", "-p", "Hi"},
                                                     {"--synthetic", "llama-8b", "--chat"},
                                                     {"-m", "x", "-p", "Hi", "--layers", "2"},
                                                     {"-m", "x", "-p", "Hi", "--compare"},
                                                     {"-m", "x", "-p", "Hi", "-n", "0"},
                                                     {"-m", "x", "-p", "Hi", "--ranks", "17"},
                                                     {"-m", "x", "-p", "Hi", "--temp", "-1"},
                                                     {"-m", "x", "-p", "Hi", "--temp", "nan"},
                                                     {"-m", "x", "-p", "Hi", "--top-p", "nan"},
                                                     {"-m", "x", "-p", "Hi", "--trace", "/no/x"},
                                                     {"-m", "x", "-p", "Hi", "--trace", "/tmp"},
                                                     {"-m", "x", "-p", "Hi", "--top-p", "1.5"},
                                                     {"-m", "x", "-p", "Hi", "--bogus"},
                                                     {"-m", "x", "-p", "Hi", "more"}};
  for (const auto& arguments : bad) {
    GenerateOptions options;
    EXPECT_EQ(parse(arguments, &options), 1) << (arguments.empty() ? "none" : arguments.back());
  }
  const ScopedEnv rank("TW_RANK", "0"), size("TW_WORLD_SIZE", "2");
  GenerateOptions options;
  EXPECT_EQ(parse({"-m", "x", "-p", "Hi", "--ranks", "2"}, &options), 1);
}

TEST(Shapes, AreWholeOrOfSomeLayers) {
  const auto shape = find_shape("llama-70b", 1);
  ASSERT_TRUE(shape);
  EXPECT_EQ(shape->layers, 1);
  EXPECT_EQ(shape->ffn, 28672);
  EXPECT_EQ(find_shape("llama-70b", 0)->layers, 80);
  EXPECT_EQ(find_shape("llama-70b", 1000)->layers, 80);
  EXPECT_FALSE(find_shape("llama", 0));
}

TEST(Ranks, ThePlaceIsTheLaunchers) {
  EXPECT_EQ(find_place().by, Place::By::kAlone);
  {
    const ScopedEnv rank("PMI_RANK", "3"), size("PMI_SIZE", "4");
    EXPECT_EQ(find_place().by, Place::By::kMpi);
    EXPECT_EQ(find_place().rank, 3);
    EXPECT_EQ(find_place().size, 4);
    const ScopedEnv own_rank("TW_RANK", "1"), own_size("TW_WORLD_SIZE", "2");
    EXPECT_EQ(find_place().by, Place::By::kTwRun);
    EXPECT_EQ(find_place().rank, 1);
  }
  for (const char* bad : {"4", "-1", "x", "1x", " 1"}) {
    const ScopedEnv rank("OMPI_COMM_WORLD_RANK", bad), size("OMPI_COMM_WORLD_SIZE", "4");
    EXPECT_PRED2(says, sentence_of([] { find_place(); }), "OMPI_COMM_WORLD_RANK") << bad;
  }
}

TEST(Ranks, OneThatThrowsEndsTheOthers) {
  const tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  EXPECT_EQ(run_ranks("test", 3, config, [](tw_comm_t, cpp::Model&) {}), 0);
  testing::internal::CaptureStderr();
  const int status = run_ranks("test", 3, config, [](tw_comm_t comm, cpp::Model&) {
    int rank = 0;
    cpp::check(tw_comm_rank(comm, &rank));
    if (rank == 1) throw std::runtime_error("what went wrong");
    cpp::check(tw_barrier(comm, nullptr));
  });
  EXPECT_EQ(status, 1);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "test: what went wrong\n");
}

TEST(Meeting, RanksOfALaunchMeetAndLeaveNothing) {
  const TemporaryFolder folder;
  const ScopedEnv place("XDG_RUNTIME_DIR", folder.path());
  ASSERT_EQ(chmod(folder.path().c_str(), 0700), 0);
  const ScopedEnv job("PMIX_NAMESPACE", "job of this test " + std::to_string(getpid()));
  const tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < 3; ++rank)
    ranks.emplace_back([rank, &config] {
      const cpp::Comm comm(meet(rank, 3, config));
      EXPECT_EQ(comm.rank(), rank);
      EXPECT_EQ(comm.size(), 3);
      EXPECT_EQ(tw_barrier(comm.get(), nullptr), TW_OK) << tw_last_error();
    });
  for (std::thread& rank : ranks) rank.join();
  EXPECT_EQ(rmdir(folder.path().c_str()), 0) << "something was left";
  ASSERT_EQ(mkdir(folder.path().c_str(), 0700), 0);
}

TEST(Meeting, OthersMayNotReadTheFolder) {
  const TemporaryFolder folder;
  const ScopedEnv place("XDG_RUNTIME_DIR", folder.path());
  ASSERT_EQ(chmod(folder.path().c_str(), 0755), 0);
  EXPECT_PRED2(says, sentence_of([] { meeting_folder(); }), folder.path());
  ASSERT_EQ(chmod(folder.path().c_str(), 0700), 0);
  EXPECT_EQ(meeting_folder(), folder.path());
}

TEST(Meeting, LaunchesAreToldApart) {
  const std::string own = job_name();
  EXPECT_EQ(job_name(), own);
  EXPECT_NE(own.find(std::to_string(getppid())), std::string::npos) << own;
  EXPECT_NE(own.back(), ' ') << "the parent's start is not known";
  const ScopedEnv job("PMIX_NAMESPACE", "other");
  EXPECT_NE(job_name(), own);
}

TEST(Files, AreReadWithoutTheLastLineBreak) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/text";
  write_text(path, std::string("a\n\0b\n\n", 6));
  EXPECT_EQ(read_file(path), std::string("a\n\0b\n", 5));
  write_text(path, "");
  EXPECT_EQ(read_file(path), "");
  EXPECT_PRED2(says, sentence_of([&] { read_file(folder.path() + "/none"); }), "none");
  EXPECT_PRED2(says, sentence_of([&] { read_file(folder.path()); }), folder.path());
}

TEST(Files, AModelsTextIsKnownBeforeTheRanksMeet) {
  const FileText text = read_text_of(fixture("llama.gguf"));
  EXPECT_GT(text.context, 0);
  EXPECT_FALSE(text.vocabulary.tokens.empty());
  EXPECT_PRED2(says, sentence_of([] { read_text_of("nonesuch.gguf"); }), "nonesuch.gguf");
}

}  // namespace
}  // namespace tw::cli
