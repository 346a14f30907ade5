// Plants a relaxed store in place of each release of the collectives' protocols, one at a time, and
// demands that ThreadSanitizer reports it; without a plant it must report nothing. A protocol that
// passes ThreadSanitizer elsewhere is thereby known to have been looked at. Exists in the
// ThreadSanitizer build only.
#if defined(TW_SANITIZE_THREAD)

#include <gtest/gtest.h>

#include <cstring>
#include <thread>

// The kernels' templates, in a namespace of their own.
#undef TW_NS
#define TW_NS tw::planted
#include "kernels/coll/all_gather.cu"
#include "kernels/coll/all_reduce.cu"
#include "kernels/coll/broadcast.cu"
#include "kernels/coll/send_recv.cu"
#include "tests/runner/races.h"
#include "tests/support/fp32_sum.h"
#include "tests/support/kernel_ranks.h"
#include "tilewire/tile/channel.h"

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

/// Staging in which the one-shot of two ranks has room for what the scenarios move.
WorldShape roomy(WorldShape shape) {
  shape.staging_bytes = size_t{64} << 10;
  return shape;
}

enum class Memory { kPrivate, kWindow };

/// Leaves out the releases of several sites, of signals only.
template <Site... sites>
class WeakSignals : public CpuBlock<Site::kIn> {
  using Base = CpuBlock<Site::kIn>;

 public:
  using Base::Base;
  template <class Line>
  void signal(Site site, int n, Line line, uint64_t value) {
    Base::signal(planted(site), n, line, value);
  }
  template <class Line, class Payload>
  void signal(Site site, int n, Line line, uint64_t value, Payload payload) {
    Base::signal(planted(site), n, line, value, payload);
  }

 private:
  static Site planted(Site site) { return ((site == sites) || ...) ? Site::kIn : Site::kNone; }
};

/// Leaves out the release by which a block hands its launch to the last one.
class WeakLast : public CpuBlock<Site::kNone> {
 public:
  using CpuBlock::CpuBlock;
  bool last(uint64_t* finished) const {
    if (__atomic_add_fetch(finished, 1, __ATOMIC_ACQUIRE) != static_cast<uint64_t>(blocks()))
      return false;
    __atomic_store_n(finished, 0, __ATOMIC_RELAXED);
    return true;
  }
};

/// A series of equal calls on two ranks; every round writes its input and reads its output.
/// kernel(args) makes a call; it may change its copy of them.
template <class Kernel>
void calls(CollOp call, CollAlgo algo, size_t count, size_t chunk, Memory memory, Kernel kernel,
           const WorldShape& shape = shape_of(2)) {
  constexpr int kRounds = 40;
  World world(shape);
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
void reduce(CollAlgo algo, size_t count, size_t chunk, Memory memory,
            const WorldShape& shape = shape_of(2)) {
  calls(
      kAllReduce, algo, count, chunk, memory,
      [](const CollArgs& args) {
        CpuBlock<site> block(0, 1, "all_reduce", args.comm.wait);
        planted::all_reduce(block, args);
      },
      shape);
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
void one_shot() {
  reduce<site>(CollAlgo::kDirect, 1000, 0, Memory::kPrivate, roomy(shape_of(2)));
}

/// One-shots in every other call. What a rank wrote to its staging in one of them is overwritten in
/// the next, two calls later: after its peer has told it, in the call between, that it has come
/// there. That call moves nothing, so that its release is there for this alone.
template <class Between>
void one_shot_again(CollAlgo between) {
  calls(
      kAllReduce, CollAlgo::kDirect, 1000, 0, Memory::kPrivate,
      [between](CollArgs args) {
        if (*args.comm.epoch % 2 == 0) {
          CpuBlock<Site::kNone> block(0, 1, "all_reduce", args.comm.wait);
          planted::all_reduce(block, args);
        } else {
          args.algo = between;
          args.count = 0;
          Between block(0, 1, "all_reduce", args.comm.wait);
          planted::all_reduce(block, args);
        }
      },
      roomy(shape_of(2)));
}

/// Two blocks of a launch, each on a thread: the last to be done ends the call for both.
template <class Block>
void two_blocks() {
  WorldShape shape = shape_of(2);
  shape.blocks = 2;
  calls(
      kAllReduce, CollAlgo::kPacket, 200, 0, Memory::kPrivate,
      [](const CollArgs& args) {
        const auto run = [&args](int index) {
          Block block(index, 2, "all_reduce", args.comm.wait);
          planted::all_reduce(block, args);
        };
        std::thread other(run, 1);
        run(0);
        other.join();
      },
      shape);
}

template <Site site>
void running_ahead() {
  spread<site>(CollAlgo::kPacket, 50, 0);
  spread<site>(CollAlgo::kPull, 500, 0);
}

TEST_F(Planted, NothingPlantedNothingReported) {
  expect_race(
      [] {
        packets<Site::kNone>();
        slots<Site::kNone>();
        pull_in_chunks<Site::kNone>();
        direct<Site::kNone>();
        staged_exchange<Site::kNone>();
        staged_reduction<Site::kNone>();
        one_shot<Site::kNone>();
        for (CollAlgo between : {CollAlgo::kPacket, CollAlgo::kSlot, CollAlgo::kDirect})
          one_shot_again<CpuBlock<Site::kNone>>(between);
        two_blocks<CpuBlock<Site::kNone>>();
        running_ahead<Site::kNone>();
        messages<Site::kNone>();
      },
      false);
}

TEST_F(Planted, PacketWord) { expect_race(packets<Site::kPacket>, true); }
TEST_F(Planted, SlotFlag) { expect_race(slots<Site::kEntry>, true); }
TEST_F(Planted, PullChunkFlag) { expect_race(pull_in_chunks<Site::kIn>, true); }
TEST_F(Planted, DirectEntry) { expect_race(direct<Site::kEntry>, true); }
TEST_F(Planted, DirectExit) { expect_race(direct<Site::kExit>, true); }
TEST_F(Planted, StagedExchangeIn) { expect_race(staged_exchange<Site::kIn>, true); }
TEST_F(Planted, StagedExchangeDone) { expect_race(staged_exchange<Site::kOut>, true); }
TEST_F(Planted, StagedReductionIn) { expect_race(staged_reduction<Site::kIn>, true); }
TEST_F(Planted, StagedReductionDone) { expect_race(staged_reduction<Site::kOut>, true); }
TEST_F(Planted, OneShotIn) { expect_race(one_shot<Site::kIn>, true); }
TEST_F(Planted, OneShotAgainAfterAPacket) {
  expect_race([] { one_shot_again<CpuBlock<Site::kPacket>>(CollAlgo::kPacket); }, true);
}
TEST_F(Planted, OneShotAgainAfterASlot) {
  expect_race([] { one_shot_again<CpuBlock<Site::kEntry>>(CollAlgo::kSlot); }, true);
}
TEST_F(Planted, OneShotAgainAfterAOneShot) {
  // Entry and `in` both follow the peer's reads: either would do.
  expect_race([] { one_shot_again<WeakSignals<Site::kEntry, Site::kIn>>(CollAlgo::kDirect); },
              true);
}
TEST_F(Planted, LastBlock) { expect_race(two_blocks<WeakLast>, true); }
TEST_F(Planted, EnteredWord) { expect_race(running_ahead<Site::kEntered>, true); }
TEST_F(Planted, ChannelCell) { expect_race(messages<Site::kChannel>, true); }
TEST_F(Planted, ChannelConsumed) { expect_race(messages<Site::kConsumed>, true); }

}  // namespace
}  // namespace tw::test

#endif  // TW_SANITIZE_THREAD
