// The reduction loops of every CPU target that this machine runs: all types and ops, ragged counts,
// many sources and destinations, bit for bit against the scalar reference.
#include <gtest/gtest.h>

#include <cstring>

#include "lib/device/kernels.h"
#include "tests/support/kernel_ranks.h"
#include "tests/support/reference.h"

namespace tw::test {
namespace {

using Bytes = std::vector<unsigned char>;

/// Reduces through the all_reduce kernel of one rank per source, so that each target's own code
/// runs.
class Reducers : public ::testing::TestWithParam<CpuTarget> {
 protected:
  struct Job {
    tw_type_t type;
    tw_op_t op;
    int sources;
    size_t count;
    bool scaled = false;
    CollAlgo algo = CollAlgo::kSlot;
    StorePolicy store = StorePolicy::kPlain;
    size_t skew = 0;  // bytes by which buffers are off alignment
  };

  static Bytes run(const Job& job, const std::vector<Bytes>& in, const uint64_t* factors) {
    World world({.ranks = job.sources, .packet_bytes = 1 << 14, .window_bytes = 1 << 16});
    Bytes result;
    world.run([&](int rank) {
      const size_t bytes = in[rank].size();
      char* send = world.window(rank) + job.skew;
      if (bytes != 0) std::memcpy(send, in[rank].data(), bytes);
      Bytes recv(bytes + 64, 0xa5);
      CollArgs args{};
      args.comm = world.view(rank);
      args.call = kAllReduce;
      args.algo = job.algo;
      args.store = job.store;
      args.reduction = {job.type, job.op, job.scaled, factors != nullptr ? factors[rank] : 0};
      args.digest = 5;
      args.root = -1;
      args.count = job.count;
      args.element = bytes_of(job.type);
      args.send = send;
      args.recv = job.algo == CollAlgo::kDirect ? send : reinterpret_cast<char*>(recv.data());
      args.send_at = world.window_at(rank, job.skew);
      args.recv_at = job.algo == CollAlgo::kDirect ? args.send_at : 0;
      World::launch(kernels::all_reduce.cpu[static_cast<int>(GetParam())], &args, 1, false);
      if (rank != 0) return;
      const auto* out = static_cast<const unsigned char*>(args.recv);
      result.assign(out, out + bytes);
      if (args.recv != send) {
        for (size_t i = bytes; i < recv.size(); ++i) ASSERT_EQ(recv[i], 0xa5) << "past the end";
      }
    });
    EXPECT_EQ(world.failure(), TW_OK);
    return result;
  }

  static void check(const Job& job) {
    std::vector<Bytes> in;
    std::vector<uint64_t> factors;
    for (int s = 0; s < job.sources; ++s) {
      in.push_back(noise(job.count * bytes_of(job.type), 1000 * s + job.count + job.type));
      uint64_t bits = 0;
      std::memcpy(&bits, noise(8, 77 * s + job.count).data(), bytes_of(job.type));
      factors.push_back(bits);
    }
    const uint64_t* scale = job.scaled ? factors.data() : nullptr;
    const Bytes expected = reduce(job.type, job.op, in, scale);
    const Bytes got = run(job, in, scale);
    for (size_t i = 0; i < expected.size(); ++i)
      ASSERT_EQ(got[i], expected[i])
          << name_of(job.type) << " op " << job.op << " sources " << job.sources << " count "
          << job.count << " scaled " << job.scaled << " algo " << static_cast<int>(job.algo)
          << " skew " << job.skew << ": byte " << i;
  }

  void SetUp() override {
#if defined(__x86_64__)
    if (GetParam() == CpuTarget::kAvx512 &&
        (!__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512dq") ||
         !__builtin_cpu_supports("avx512vl")))
      GTEST_SKIP() << "this CPU has no AVX-512";
#endif
  }
};

TEST_P(Reducers, EveryTypeAndOp) {
  for (int type = 0; type < kAllTypes; ++type)
    for (tw_op_t op : kAllOps)
      for (int sources : {2, 3})
        for (CollAlgo algo : {CollAlgo::kPacket, CollAlgo::kSlot, CollAlgo::kDirect})
          check({static_cast<tw_type_t>(type), op, sources, 777, false, algo});
}

TEST_P(Reducers, ScaledSums) {
  for (int type = 0; type < kAllTypes; ++type)
    for (CollAlgo algo : {CollAlgo::kPacket, CollAlgo::kSlot, CollAlgo::kPull, CollAlgo::kDirect})
      check({static_cast<tw_type_t>(type), TW_SUM, 3, 501, true, algo});
}

TEST_P(Reducers, EveryRaggedCount) {
  for (size_t count = 0; count <= 300; ++count) {
    check({TW_FP32, TW_SUM, 2, count, false, count % 2 == 0 ? CollAlgo::kSlot : CollAlgo::kPacket});
    check({TW_BF16, TW_SUM, 2, count, false, CollAlgo::kDirect});
    check({TW_FP8_E4M3, TW_MAX, 3, count, false, CollAlgo::kPacket});
  }
}

TEST_P(Reducers, AnyAlignmentAndPolicy) {
  for (size_t skew : {1, 2, 4, 8, 32, 60, 64})
    for (StorePolicy store : {StorePolicy::kPlain, StorePolicy::kNonTemporal}) {
      check({TW_FP32, TW_SUM, 2, 1029, false, CollAlgo::kDirect, store, skew});
      check({TW_FP16, TW_PROD, 3, 1029, false, CollAlgo::kSlot, store, skew});
      check({TW_INT64, TW_SUM, 2, 1029, false, CollAlgo::kPull, store, skew});
    }
}

std::string target_name(const ::testing::TestParamInfo<CpuTarget>& info) {
  return cpu_target_name(info.param);
}
#if defined(__x86_64__)
constexpr CpuTarget kTargets[] = {CpuTarget::kAvx512, CpuTarget::kAvx2, CpuTarget::kPortable};
#else
constexpr CpuTarget kTargets[] = {CpuTarget::kPortable};
#endif
INSTANTIATE_TEST_SUITE_P(Targets, Reducers, ::testing::ValuesIn(kTargets), target_name);

}  // namespace
}  // namespace tw::test
