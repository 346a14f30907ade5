// Collective kernels on thread ranks over memory laid out by hand, without the library's host side:
// every op by every algorithm, and random sequences of both, in which inboxes, slots and staging
// are used again and again. Under ThreadSanitizer this checks the protocols' memory order.
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "tests/support/coll_kernels.h"

namespace tw::test {
namespace {

#if defined(TW_SANITIZE_THREAD) || defined(TW_SANITIZE_ADDRESS)
constexpr int kCalls = 120;
#else
constexpr int kCalls = 500;
#endif

TEST(CollKernel, EveryOpByEveryAlgorithm) {
  for (int ranks : {1, 2, 3, 5})
    for (int blocks : {1, 2}) {
      const WorldShape shape = coll_shape(ranks, blocks);
      std::vector<CollPlan> plans;
      uint64_t seed = 1;
      for (uint32_t call = 0; call < kCollectives; ++call)
        for (CollAlgo algo : kCollAlgos)
          for (CollMemory memory : {CollMemory::kPrivate, CollMemory::kWindow, CollMemory::kMixed})
            for (bool in_place : {false, true}) {
              CollPlan plan;
              plan.call = static_cast<CollOp>(call);
              plan.algo = algo;
              plan.memory = memory;
              plan.in_place = in_place && can_be_in_place(plan.call);
              plan.root = static_cast<int>(seed % ranks);
              plan.seed = ++seed;
              plan.chunk = seed % 4 * 256;
              plan.count = std::min<size_t>(1000, most_elements(shape, plan));
              if (is_valid(plan.call, algo)) plans.push_back(plan);
            }
      EXPECT_EQ(run_plans(shape, plans, /*block_threads=*/false, cpu_coll_entries()), TW_OK);
      if (::testing::Test::HasFatalFailure()) return;
    }
}

TEST(CollKernel, RandomSequences) {
  for (int ranks : {2, 3, 4, 8})
    for (int blocks : {1, 3}) {
      const WorldShape shape = coll_shape(ranks, blocks);
      std::mt19937_64 random(ranks * 100 + blocks);
      std::vector<CollPlan> plans;
      for (int i = 0; i < kCalls / ranks * 2; ++i) plans.push_back(random_plan(random, shape));
      EXPECT_EQ(run_plans(shape, plans, /*block_threads=*/false, cpu_coll_entries()), TW_OK);
      if (::testing::Test::HasFatalFailure()) return;
    }
}

TEST(CollKernel, BlocksOnThreads) {
  for (int ranks : {1, 2, 3}) {
    const WorldShape shape = coll_shape(ranks, 2);
    std::mt19937_64 random(9 + ranks);
    std::vector<CollPlan> plans;
    for (int i = 0; i < kCalls / 4; ++i) plans.push_back(random_plan(random, shape));
    EXPECT_EQ(run_plans(shape, plans, /*block_threads=*/true, cpu_coll_entries()), TW_OK);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

#if defined(TW_SANITIZE_THREAD)
constexpr int kMany = 16;  // 64 threads take a minute there
#else
constexpr int kMany = 64;
#endif

TEST(CollKernel, ManyRanks) {
  WorldShape shape = coll_shape(kMany, 1);
  shape.packet_bytes = shape.slot_bytes = 1024;
  for (uint32_t call = 0; call < kCollectives; ++call) {
    std::vector<CollPlan> plans;
    for (CollAlgo algo : kCollAlgos) {
      CollPlan plan;
      plan.call = static_cast<CollOp>(call);
      plan.algo = algo;
      plan.memory = CollMemory::kMixed;
      plan.type = TW_BF16;
      plan.seed = 64 + call;
      plan.root = kMany - 1;
      plan.count = std::min<size_t>(300, most_elements(shape, plan));
      if (is_valid(plan.call, algo)) plans.push_back(plan);
    }
    EXPECT_EQ(run_plans(shape, plans, /*block_threads=*/false, cpu_coll_entries()), TW_OK);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

TEST(CollKernel, RootedCallsRunAheadWithinBounds) {
  // Broadcasts from alternating roots without any answer: the root may not overwrite what a slow
  // rank has not read.
  for (CollAlgo algo : kCollAlgos) {
    const WorldShape shape = coll_shape(3, 1);
    std::vector<CollPlan> plans;
    for (uint64_t i = 0; i < 200; ++i) {
      CollPlan plan;
      plan.call = i % 7 == 3    ? kGather
                  : i % 11 == 5 ? kScatter
                  : i % 13 == 6 ? kReduce
                                : kBroadcast;
      plan.algo = algo;
      plan.root = static_cast<int>(i / 20 % 3);
      plan.seed = i;
      plan.count = 100 + i % 50;
      plans.push_back(plan);
    }
    EXPECT_EQ(run_plans(shape, plans, /*block_threads=*/false, cpu_coll_entries()), TW_OK);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

/// Runs one call whose digest differs at one rank; every rank must come back.
tw_status_t mismatched(CollOp call, CollAlgo algo) {
  CollPlan plan;
  plan.call = call;
  plan.algo = algo;
  plan.count = 16;
  plan.digest_step = 1;
  return run_plans(coll_shape(2, 1), {plan}, /*block_threads=*/false, cpu_coll_entries());
}

TEST(CollKernel, DifferentDigestsAreReported) {
  for (CollOp call : {kAllReduce, kAllGather, kAllToAll, kReduceScatter, kBroadcast, kBarrier})
    for (CollAlgo algo : kCollAlgos)
      EXPECT_EQ(mismatched(call, algo), TW_ERROR_MISMATCH)
          << "call " << call << " algo " << static_cast<int>(algo);
}

TEST(CollKernel, UnequalPairCountsAreReported) {
  World world(coll_shape(2, 1));
  world.run([&](int rank) {
    std::vector<float> send(64), recv(64);
    const size_t to[2] = {3, rank == 0 ? size_t{5} : size_t{4}};
    const size_t from[2] = {rank == 0 ? size_t{3} : size_t{6}, 4};
    CollArgs args{};
    args.comm = world.view(rank);
    args.call = kAllToAllV;
    args.algo = CollAlgo::kDirect;
    args.reduction.type = TW_FP32;
    args.element = 4;
    args.send = send.data();
    args.recv = recv.data();
    args.send_counts = to;
    args.recv_counts = from;
    World::launch(cpu_coll_entries()(kAllToAllV), &args, 1, false);
  });
  EXPECT_EQ(world.failure(), TW_ERROR_MISMATCH);
}

TEST(CollKernel, AMoveCutShortIsNotSignalled) {
  // Long moves stop when the comm has ended. The peer must not take what arrived for whole.
  constexpr size_t kBytes = size_t{9} << 20;
  World world({.ranks = 2, .slot_bytes = kBytes});
  world.stop();
  std::vector<char> send(kBytes, 7), recv(kBytes);
  for (int rank : {0, 1}) {
    CollArgs args{};
    args.comm = world.view(rank);
    args.call = kBroadcast;
    args.algo = CollAlgo::kSlot;
    args.reduction.type = TW_INT8;
    args.count = kBytes;
    args.element = 1;
    args.send = send.data();
    args.recv = recv.data();
    World::launch(cpu_coll_entries()(kBroadcast), &args, 1, false);
  }
  EXPECT_EQ(*world.view(1).epoch, 0u) << "rank 1 believes that its broadcast is done";
}

}  // namespace
}  // namespace tw::test
