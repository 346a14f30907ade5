// The collectives with a process a rank, under mpirun with any number of ranks: the case table of
// the unit tests, larger messages by every algorithm, and groups of messages.
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdlib>
#include <vector>

#include "tests/runner/coll_cases.h"
#include "tilewire/mpi.h"

namespace tw::test {
namespace {

/// A comm of all processes.
class World {
 public:
  World() {
    EXPECT_EQ(tw_comm_create_mpi(MPI_COMM_WORLD, nullptr, &comm_), TW_OK) << tw_last_error();
    tw_comm_rank(comm_, &rank_);
    tw_comm_size(comm_, &size_);
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World() { EXPECT_EQ(tw_comm_destroy(comm_), TW_OK) << tw_last_error(); }

  tw_comm_t comm() const { return comm_; }
  int rank() const { return rank_; }
  int size() const { return size_; }

  /// The peers must not wait for a rank that has given up.
  void run(const std::vector<CollCase>& cases, size_t bytes) const {
    CaseRunner runner(comm_, bytes);
    uint64_t seed = 1;
    for (const CollCase& c : cases)
      if (!runner.run(c, ++seed)) {
        tw_comm_abort(comm_);
        return;
      }
  }

 private:
  tw_comm_t comm_ = nullptr;
  int rank_ = 0, size_ = 0;
};

class CollMpi : public testing::TestWithParam<CollOp> {};

TEST_P(CollMpi, Cases) {
  const World world;
  world.run(few_cases_of(GetParam(), world.size()), 1 << 20);
}

TEST_P(CollMpi, LargeByEveryAlgorithm) {
  for (const char* algo : {"auto", "slot", "pull", "direct"}) {
    setenv("TW_COLL_ALGO", algo, 1);
    const World world;
    unsetenv("TW_COLL_ALGO");
    std::vector<CollCase> cases;
    for (const Memory memory : {Memory::kPrivate, Memory::kWindow, Memory::kMixed}) {
      CollCase c;
      c.call = GetParam();
      c.type = TW_BF16;
      c.count = 100'003;
      c.root = world.size() - 1;
      c.memory = memory;
      cases.push_back(c);
    }
    world.run(cases, 4 << 20);
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, CollMpi,
                         testing::Values(kAllReduce, kReduce, kBroadcast, kAllGather,
                                         kReduceScatter, kAllToAll, kGather, kScatter, kAllGatherV,
                                         kReduceScatterV, kAllToAllV, kBarrier));

TEST(CollMpiGroup, EveryoneSendsToEveryoneInAGroup) {
  const World world;
  const int n = world.size();
  for (const size_t count : {size_t{1}, size_t{300}, size_t{60'000}}) {
    std::vector<std::vector<int>> out, in;
    for (int peer = 0; peer < n; ++peer) {
      out.emplace_back(count, 1000 * world.rank() + peer);
      in.emplace_back(count, -1);
    }
    ASSERT_EQ(tw_group_begin(), TW_OK);
    for (int peer = n - 1; peer >= 0; --peer) {
      const auto p = static_cast<size_t>(peer);
      ASSERT_EQ(tw_send(out[p].data(), count, TW_INT32, peer, world.comm(), nullptr), TW_OK);
      ASSERT_EQ(tw_recv(in[p].data(), count, TW_INT32, peer, world.comm(), nullptr), TW_OK);
    }
    ASSERT_EQ(tw_group_end(), TW_OK) << tw_last_error();
    for (int peer = 0; peer < n; ++peer)
      for (const int value : in[static_cast<size_t>(peer)])
        ASSERT_EQ(value, 1000 * peer + world.rank());
  }
}

}  // namespace
}  // namespace tw::test

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  testing::InitGoogleTest(&argc, argv);
  const int result = RUN_ALL_TESTS();
  MPI_Finalize();
  return result;
}
