// Long mixed sequences of collectives, with ranks as threads and as processes: what one call leaves
// behind (flags, inboxes, slots, staging) must never reach the next.
//
// The process tests start this program again, once a rank, with the environment contract of tw_run.
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <random>
#include <thread>

#include "tests/runner/coll_cases.h"
#include "tests/runner/ranks.h"

extern char** environ;

namespace tw::test {
namespace {

constexpr size_t kArena = 6 << 20;
constexpr const char* kChildVariable = "COLL_RANKS_CHILD";

/// The same pseudo-random case on every rank. Sizes cross every switch-over of the choice tables.
CollCase random_case(std::mt19937_64* random, int ranks) {
  const auto below = [&](uint64_t n) { return static_cast<size_t>((*random)() % n); };
  constexpr size_t kSizes[] = {0, 1, 5, 14, 100, 130, 1000, 2050, 4097, 17000, 70001};
  CollCase c;
  c.call = static_cast<CollOp>(below(kCollectives));
  c.type = kAllTypes[below(std::size(kAllTypes))];
  c.op = kAllOps[below(std::size(kAllOps))];
  c.count = kSizes[below(std::size(kSizes))];
  c.root = static_cast<int>(below(static_cast<uint64_t>(ranks)));
  c.memory = static_cast<Memory>(below(4));
  c.in_place = c.call != kAllToAllV && below(3) == 0;
  c.in_place_parity = static_cast<int>(below(3)) - 1;
  c.misalign = below(3) == 0 ? below(9) : 0;
  c.gaps = (c.call == kAllGatherV || c.call == kAllToAllV) && below(2) == 0;
  // Whole buffers hold one part a rank (uneven parts are up to 1.5 counts) and must fit the arena.
  const size_t most = kArena / 2 / (static_cast<size_t>(ranks) * 2 * type_bytes(c.type));
  if (c.count > most) c.count = most;
  return c;
}

/// `steps` random calls; now and then a rank is late.
bool run_sequence(tw_comm_t comm, uint64_t seed, int steps) {
  int rank = 0, n = 0;
  EXPECT_EQ(tw_comm_rank(comm, &rank), TW_OK);
  EXPECT_EQ(tw_comm_size(comm, &n), TW_OK);
  CaseRunner runner(comm, kArena);
  std::mt19937_64 random(seed), late(seed * 64 + static_cast<uint64_t>(rank));
  for (int step = 0; step < steps; ++step) {
    if (late() % 16 == 0) std::this_thread::sleep_for(std::chrono::microseconds(late() % 300));
    if (!runner.run(random_case(&random, n), seed + static_cast<uint64_t>(step))) {
      ADD_FAILURE() << "rank " << rank << " of " << n << ", seed " << seed << ", step " << step;
      tw_comm_abort(comm);
      return false;
    }
  }
  return true;
}

/// A rooted call in which ranks do not hear of each other, then symmetric ones, small and unpaced:
/// a fast rank must not run into buffers that a slow one still reads.
void rooted_then_symmetric(tw_comm_t comm) {
  int rank = 0, n = 0;
  ASSERT_EQ(tw_comm_rank(comm, &rank), TW_OK);
  ASSERT_EQ(tw_comm_size(comm, &n), TW_OK);
  for (int round = 0; round < 300; ++round) {
    const size_t count = round % 3 == 0 ? 2 : round % 3 == 1 ? 700 : 9000;
    const int root = round % n;
    std::vector<int> value(count, rank == root ? round : -1), sum(count);
    for (int repeat = 0; repeat < 3; ++repeat)
      ASSERT_EQ(tw_broadcast(value.data(), value.data(), count, TW_INT32, root, comm, nullptr),
                TW_OK)
          << tw_last_error();
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(value[i], round);
    ASSERT_EQ(
        tw_reduce(value.data(), sum.data(), count, TW_INT32, TW_SUM, (root + 1) % n, comm, nullptr),
        TW_OK);
    if (rank == (root + 1) % n) {
      for (size_t i = 0; i < count; ++i) ASSERT_EQ(sum[i], round * n);
    }
    ASSERT_EQ(tw_all_reduce(value.data(), sum.data(), count, TW_INT32, TW_SUM, comm, nullptr),
              TW_OK);
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(sum[i], round * n);
  }
}

class Sequence : public testing::TestWithParam<int> {};

TEST_P(Sequence, MixedCalls) {
  const int n = GetParam();
  const ThreadRanks ranks(n);
  ranks.run([&](int, tw_comm_t comm) { run_sequence(comm, 1000 + static_cast<uint64_t>(n), 250); });
}

TEST_P(Sequence, MixedCallsInSeveralBlocks) {
  const int n = GetParam();
  const ScopedEnv workers("TW_COMM_WORKERS", "4"), blocks("TW_COLL_BLOCKS", "4");
  const ThreadRanks ranks(n);
  ranks.run([&](int, tw_comm_t comm) { run_sequence(comm, 2000 + static_cast<uint64_t>(n), 120); });
}

TEST_P(Sequence, RootedThenSymmetric) {
  const ThreadRanks ranks(GetParam());
  ranks.run([&](int, tw_comm_t comm) { rooted_then_symmetric(comm); });
}

TEST_P(Sequence, QueuedCalls) {
  const int n = GetParam();
  const ThreadRanks ranks(n);
  ranks.run([&](int, tw_comm_t comm) {
    tw_stream_t stream = nullptr;
    ASSERT_EQ(tw_stream_create(nullptr, &stream), TW_OK) << tw_last_error();
    {
      // Several calls pending at once; inline calls in between wait for their turn.
      CaseRunner one(comm, 1 << 18), two(comm, 1 << 18), three(comm, 1 << 18);
      std::mt19937_64 random(77);
      for (int round = 0; round < 20; ++round) {
        CollCase c = random_case(&random, n);
        c.count = c.count % 1000;
        ASSERT_TRUE(one.start(c, 1, stream));
        ASSERT_TRUE(two.start(c, 2, stream));
        ASSERT_TRUE(three.run(c, 3));
        ASSERT_EQ(tw_stream_synchronize(stream), TW_OK) << tw_last_error();
        ASSERT_TRUE(one.finish());
        ASSERT_TRUE(two.finish());
      }
    }
    ASSERT_EQ(tw_stream_destroy(stream), TW_OK) << tw_last_error();
  });
}

INSTANTIATE_TEST_SUITE_P(Threads, Sequence, testing::Values(2, 3, 5, 8));

class Processes : public testing::TestWithParam<int> {};

TEST_P(Processes, CasesAndSequences) {
  const int n = GetParam();
  tw_unique_id_t id;
  ASSERT_EQ(tw_unique_id_create(&id), TW_OK) << tw_last_error();
  char text[TW_UNIQUE_ID_TEXT_BYTES];
  ASSERT_EQ(tw_unique_id_to_text(&id, text), TW_OK);
  std::vector<pid_t> children;
  for (int rank = 0; rank < n; ++rank) {
    const ScopedEnv child(kChildVariable, "1"), r("TW_RANK", std::to_string(rank)),
        size("TW_WORLD_SIZE", std::to_string(n)), where("TW_UNIQUE_ID", text);
    char name[] = "coll_ranks_test";
    char* const args[] = {name, nullptr};
    pid_t pid = 0;
    ASSERT_EQ(posix_spawn(&pid, "/proc/self/exe", nullptr, nullptr, args, environ), 0);
    children.push_back(pid);
  }
  for (int rank = 0; rank < n; ++rank) {
    int status = 0;
    ASSERT_EQ(waitpid(children[rank], &status, 0), children[rank]);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "rank " << rank << ": " << status;
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, Processes, testing::Values(2, 3, 4));

void child_body() {
  tw_comm_t comm = nullptr;
  ASSERT_EQ(tw_comm_create_env(nullptr, &comm), TW_OK) << tw_last_error();
  int n = 0;
  ASSERT_EQ(tw_comm_size(comm, &n), TW_OK);
  {
    CaseRunner runner(comm, 1 << 20);
    for (uint32_t call = 0; call < kCollectives; ++call)
      for (const CollCase& c : few_cases_of(static_cast<CollOp>(call), n))
        if (!runner.run(c, call + 1)) return;
  }
  if (run_sequence(comm, 3000, 200)) rooted_then_symmetric(comm);
  ASSERT_EQ(tw_comm_destroy(comm), TW_OK) << tw_last_error();
}

}  // namespace
}  // namespace tw::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (std::getenv(tw::test::kChildVariable) == nullptr) return RUN_ALL_TESTS();
  tw::test::child_body();
  return testing::UnitTest::GetInstance()->Failed() ? 1 : 0;
}
