// What ranks tell each other when they enter a call by locations: it is compared in all 64 bits,
// and only while it is still of that call.
#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <thread>

// The kernels' templates, in a namespace of their own.
#undef TW_NS
#define TW_NS tw::entries
#include "kernels/coll/all_gather.cu"
#include "kernels/coll/all_reduce.cu"
#include "kernels/coll/all_to_all.cu"
#include "kernels/coll/broadcast.cu"
#include "kernels/coll/reduce.cu"
#include "kernels/coll/reduce_scatter.cu"
#include "tests/support/fp32_sum.h"
#include "tests/support/kernel_ranks.h"

namespace tw::test {
namespace {

using entries::Block;

constexpr size_t kCount = 600;
constexpr uint16_t kDigest = 5;

/// Two histories whose upper bits, which signals carry, are equal.
constexpr uint64_t kOne = (uint64_t{kDigest} << 48) + 1, kOther = kOne + (uint64_t{1} << 40);

WorldShape shape_of(int ranks, size_t staging) {
  return {.ranks = ranks,
          .packet_bytes = 4096,
          .slot_bytes = 4096,
          .staging_bytes = staging,
          .channel_bytes = 0,
          .window_bytes = size_t{1} << 16};
}

/// A direct call by rank `rank`; `data` holds `send` and, after room for all ranks, `recv`.
CollArgs direct_call(World& world, int rank, CollOp call, size_t count, float* data) {
  CollArgs args{};
  args.comm = world.view(rank);
  args.call = call;
  args.algo = CollAlgo::kDirect;
  args.reduction = {TW_FP32, TW_SUM, 0, 0};
  args.digest = kDigest;
  args.history = kOne;
  args.count = count;
  args.element = sizeof(float);
  args.send = data;
  args.recv = data + count * static_cast<size_t>(world.ranks());
  return args;
}

template <class B>
void run_call(B& block, const CollArgs& args) {
  switch (args.call) {
    case kAllGather:
      return entries::all_gather(block, args);
    case kAllToAll:
      return entries::all_to_all(block, args);
    case kBroadcast:
      return entries::broadcast(block, args);
    case kReduce:
      return entries::reduce(block, args);
    case kReduceScatter:
      return entries::reduce_scatter(block, args);
    default:
      return entries::all_reduce(block, args);
  }
}

/// Every rank makes the call; the last one comes with another history. What the waits reported.
tw_status_t outcome(int ranks, size_t staging, CollOp call, bool windows) {
  World world(shape_of(ranks, staging));
  world.run([&](int rank) {
    std::vector<float> own(2 * kCount * static_cast<size_t>(ranks), 1.0F);
    float* const data = windows ? reinterpret_cast<float*>(world.window(rank)) : own.data();
    CollArgs args = direct_call(world, rank, call, kCount, data);
    if (windows) {
      args.send_at = world.window_at(rank, 0);
      args.recv_at = world.window_at(rank, kCount * static_cast<size_t>(ranks) * sizeof(float));
    }
    if (rank == ranks - 1) args.history = kOther;
    Block block(0, 1, "entries", args.comm.wait);
    run_call(block, args);
    EXPECT_EQ(*args.comm.epoch, 0u) << "rank " << rank << " took the call for done";
  });
  return world.failure();
}

TEST(Entries, HistoriesAreComparedInAllBits) {
  constexpr size_t kSmallStaging = 8192;  // nothing here is a one-shot
  for (CollOp call : {kAllGather, kAllToAll, kBroadcast, kAllReduce, kReduce, kReduceScatter})
    for (int ranks : {2, 3})
      for (bool windows : {false, true})
        EXPECT_EQ(outcome(ranks, kSmallStaging, call, windows), TW_ERROR_MISMATCH)
            << "call " << call << ", " << ranks << " ranks, windows " << windows;
}

constexpr size_t kRoomyStaging = size_t{1} << 20;

// The one-shot of two ranks reads no entries: the call after it finds out.
TEST(Entries, HistoriesOfOneShotsAreComparedByTheNextCall) {
  World world(shape_of(2, kRoomyStaging));
  world.run([&](int rank) {
    std::vector<float> data(4 * kCount, 1.0F);
    for (CollOp call : {kAllReduce, kAllGather}) {
      EXPECT_EQ(world.failure(), TW_OK);
      CollArgs args = direct_call(world, rank, call, kCount, data.data());
      args.history = rank == 0 ? kOne : kOther;
      Block block(0, 1, "entries", args.comm.wait);
      run_call(block, args);
    }
  });
  EXPECT_EQ(world.failure(), TW_ERROR_MISMATCH);
}

/// Rests now and then between having put its data and looking at the peers' entries.
class SlowBlock : public Block {
 public:
  SlowBlock(WaitContext* wait, std::mt19937* random) : Block(0, 1, "slow", wait), random_(random) {}

  template <class Word, class Peer>
  bool wait_digest_all(int n, Word word, uint64_t value, Peer peer) {
    if ((*random_)() % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds(500));
    return Block::wait_digest_all(n, word, value, peer);
  }

 private:
  std::mt19937* random_;
};

// A rank that has its peer's input is done with a one-shot, and enters the next call while the peer
// is still in this one: what it says there must not be taken for a different call.
TEST(Entries, APeerThatRunsAheadOfAOneShotIsNoMismatch) {
  constexpr int kRounds = 300;
  for (size_t count : {1, 1000, 8192}) {
    World world(shape_of(2, kRoomyStaging));
    world.run([&](int rank) {
      std::mt19937 random(static_cast<unsigned>(rank) + 1);
      std::vector<float> data(3 * count);
      for (int round = 0; round < kRounds && world.failure() == TW_OK; ++round) {
        std::fill(data.begin(), data.end(), static_cast<float>(round + rank));
        CollArgs args = direct_call(world, rank, kAllReduce, count, data.data());
        args.digest = static_cast<uint16_t>(round);
        args.history = uint64_t{args.digest} << 48 | static_cast<uint64_t>(round * 977);
        SlowBlock block(args.comm.wait, &random);
        run_call(block, args);
        const float want = static_cast<float>(2 * round + 1);
        if (world.failure() != TW_OK) return;
        ASSERT_TRUE(data[2 * count] == want && data.back() == want) << "round " << round;
      }
    });
    EXPECT_EQ(world.failure(), TW_OK) << count << " elements";
  }
}

}  // namespace
}  // namespace tw::test
