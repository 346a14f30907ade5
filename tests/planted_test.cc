// Plants a relaxed store in place of each release of the collectives' protocols, one at a time, and
// demands that ThreadSanitizer reports it; without a plant it must report nothing. A protocol that
// passes ThreadSanitizer elsewhere is thereby known to have been looked at. Exists in the
// ThreadSanitizer build only.
#if defined(TW_SANITIZE_THREAD)

#include <gtest/gtest.h>

#include <cstring>

// The kernels' templates, in a namespace of their own.
#undef TW_NS
#define TW_NS tw::planted
#include "kernels/coll/all_gather.cu"
#include "kernels/coll/all_reduce.cu"
#include "kernels/coll/broadcast.cu"
#include "kernels/coll/send_recv.cu"
#include "tests/support/kernel_ranks.h"
#include "tilewire/tile/channel.h"

namespace TW_NS {

/// Enough of a reduction for the scenarios here: fp32 sums.
ReduceLoop reduce_loop_of(tw_type_t /*type*/, tw_op_t /*op*/) {
  return [](const Operands& o, size_t bytes) {
    for (size_t at = 0; at < bytes; at += sizeof(float)) {
      float sum = 0;
      for (int s = 0; s < o.sources; ++s) {
        float x;
        std::memcpy(&x, o.source[s] + at, sizeof x);
        sum += x;
      }
      for (int d = 0; d < o.destinations; ++d) std::memcpy(o.destination[d] + at, &sum, sizeof sum);
    }
  };
}

}  // namespace TW_NS

namespace tw::test {
namespace {

using planted::CpuBlock;
using planted::Site;

WorldShape shape_of(int ranks) {
  return {.ranks = ranks,
          .packet_bytes = 4096,
          .slot_bytes = 4096,
          .staging_bytes = 8192,
          .channel_bytes = kLeastChannelBytes,
          .window_bytes = size_t{1} << 16};
}

enum class Memory { kPrivate, kWindow };

/// A series of equal calls on two ranks; every round writes its input and reads its output.
template <class Kernel>
void calls(CollOp call, CollAlgo algo, size_t count, size_t chunk, Memory memory, Kernel kernel) {
  constexpr int kRounds = 40;
  World world(shape_of(2));
  world.run([&](int rank) {
    std::vector<float> own(4 * count);
    float* send =
        memory == Memory::kWindow ? reinterpret_cast<float*>(world.window(rank)) : own.data();
    float* recv = send + count;
    double sum = 0;
    for (int round = 0; round < kRounds; ++round) {
      for (size_t i = 0; i < count; ++i) send[i] = static_cast<float>(round + rank);
      CollArgs args{};
      args.comm = world.view(rank);
      args.call = call;
      args.algo = algo;
      args.reduction = {TW_FP32, TW_SUM, 0, 0};
      args.digest = 3;
      args.count = count;
      args.element = sizeof(float);
      args.chunk = chunk;
      args.send = send;
      args.recv = recv;
      if (memory == Memory::kWindow) {
        args.send_at = world.window_at(rank, 0);
        args.recv_at = world.window_at(rank, count * sizeof(float));
      }
      kernel(args);
      for (size_t i = 0; i < count; ++i) sum += recv[i];
    }
    static_cast<void>(sum);
  });
}

template <Site site>
void gather(CollAlgo algo, size_t count, size_t chunk, Memory memory) {
  calls(kAllGather, algo, count, chunk, memory, [](const CollArgs& args) {
    CpuBlock<site> block(0, 1, "all_gather", args.comm.wait);
    planted::all_gather(block, args);
  });
}

template <Site site>
void reduce(CollAlgo algo, size_t count, size_t chunk, Memory memory) {
  calls(kAllReduce, algo, count, chunk, memory, [](const CollArgs& args) {
    CpuBlock<site> block(0, 1, "all_reduce", args.comm.wait);
    planted::all_reduce(block, args);
  });
}

template <Site site>
void spread(CollAlgo algo, size_t count, size_t chunk) {
  calls(kBroadcast, algo, count, chunk, Memory::kPrivate, [](const CollArgs& args) {
    CpuBlock<site> block(0, 1, "broadcast", args.comm.wait);
    planted::broadcast(block, args);
  });
}

/// Messages from rank 0 to rank 1: small, through the ring, from a window.
template <Site site>
void messages() {
  World world(shape_of(2));
  world.run([&](int rank) {
    double sum = 0;
    for (int round = 0; round < 60; ++round) {
      std::vector<float> data(500, static_cast<float>(round));
      Transfer list[3] = {};
      size_t sizes[3] = {40, 2000, 2000};
      for (int i = 0; i < 3; ++i) {
        list[i].peer = 1 - rank;
        list[i].is_send = rank == 0;
        list[i].data = data.data();
        list[i].bytes = sizes[i];
        list[i].digest = sizes[i];
      }
      if (rank == 0) {
        list[2].data = world.window(0);
        list[2].at = world.window_at(0, 0);
        std::memcpy(list[2].data, data.data(), sizes[2]);
      }
      SendRecvArgs args{};
      args.comm = world.view(rank);
      args.window_from = 1;
      args.transfers = list;
      args.n = 3;
      CpuBlock<site> block(0, 1, "send_recv", args.comm.wait);
      planted::send_recv(block, args);
      for (float x : data) sum += x;
    }
    static_cast<void>(sum);
  });
}

// One scenario for each protocol; `site` is the release that it leaves out.
template <Site site>
void packets() {
  gather<site>(CollAlgo::kPacket, 50, 0, Memory::kPrivate);
  reduce<site>(CollAlgo::kPacket, 50, 0, Memory::kPrivate);
}
template <Site site>
void slots() {
  gather<site>(CollAlgo::kSlot, 500, 0, Memory::kPrivate);
  reduce<site>(CollAlgo::kSlot, 500, 0, Memory::kPrivate);
}
template <Site site>
void pull_in_chunks() {
  gather<site>(CollAlgo::kPull, 800, 256, Memory::kPrivate);
  reduce<site>(CollAlgo::kPull, 800, 256, Memory::kPrivate);
}
template <Site site>
void direct() {
  gather<site>(CollAlgo::kDirect, 1000, 0, Memory::kWindow);
  reduce<site>(CollAlgo::kDirect, 1000, 0, Memory::kWindow);
}
template <Site site>
void staged_exchange() {
  gather<site>(CollAlgo::kDirect, 2000, 256, Memory::kPrivate);
  spread<site>(CollAlgo::kDirect, 2000, 256);
}
template <Site site>
void staged_reduction() {
  reduce<site>(CollAlgo::kDirect, 2000, 256, Memory::kPrivate);
}
template <Site site>
void running_ahead() {
  spread<site>(CollAlgo::kPacket, 50, 0);
  spread<site>(CollAlgo::kPull, 500, 0);
}

constexpr int kRaceReported = 66;  // ThreadSanitizer's exit code

/// Runs in a process of its own, since a report cannot be taken back.
template <class Scenario>
void expect(Scenario scenario, bool race) {
  const auto run = [&] {
    scenario();
    std::exit(0);  // NOLINT(concurrency-mt-unsafe): the ranks' threads are joined
  };
  if (race) {
    EXPECT_EXIT(run(), ::testing::ExitedWithCode(kRaceReported), "data race");
  } else {
    EXPECT_EXIT(run(), ::testing::ExitedWithCode(0), "");
  }
}

class Planted : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(Planted, NothingPlantedNothingReported) {
  expect(
      [] {
        packets<Site::kNone>();
        slots<Site::kNone>();
        pull_in_chunks<Site::kNone>();
        direct<Site::kNone>();
        staged_exchange<Site::kNone>();
        staged_reduction<Site::kNone>();
        running_ahead<Site::kNone>();
        messages<Site::kNone>();
      },
      false);
}

TEST_F(Planted, PacketWord) { expect(packets<Site::kPacket>, true); }
TEST_F(Planted, SlotFlag) { expect(slots<Site::kEntry>, true); }
TEST_F(Planted, PullChunkFlag) { expect(pull_in_chunks<Site::kIn>, true); }
TEST_F(Planted, DirectEntry) { expect(direct<Site::kEntry>, true); }
TEST_F(Planted, DirectExit) { expect(direct<Site::kExit>, true); }
TEST_F(Planted, StagedExchangeIn) { expect(staged_exchange<Site::kIn>, true); }
TEST_F(Planted, StagedExchangeDone) { expect(staged_exchange<Site::kOut>, true); }
TEST_F(Planted, StagedReductionIn) { expect(staged_reduction<Site::kIn>, true); }
TEST_F(Planted, StagedReductionDone) { expect(staged_reduction<Site::kOut>, true); }
TEST_F(Planted, EnteredWord) { expect(running_ahead<Site::kEntered>, true); }
TEST_F(Planted, ChannelCell) { expect(messages<Site::kChannel>, true); }
TEST_F(Planted, ChannelConsumed) { expect(messages<Site::kConsumed>, true); }

}  // namespace
}  // namespace tw::test

#endif  // TW_SANITIZE_THREAD
