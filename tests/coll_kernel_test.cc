// Collective kernels on thread ranks over memory laid out by hand: every algorithm, without the
// library's host side. Under ThreadSanitizer this checks the protocols' memory order.
#include <gtest/gtest.h>

#include "lib/device/kernels.h"
#include "tests/support/kernel_ranks.h"

namespace tw::test {
namespace {

TEST(CollKernel, AllReduceOnTwoRanks) {
  for (CollAlgo algo : {CollAlgo::kPacket, CollAlgo::kSlot}) {
    for (int blocks : {1, 3}) {
      World world({.ranks = 2, .blocks = blocks});
      world.run([&](int rank) {
        for (int round = 0; round < 50; ++round) {
          const size_t count = 1 + round * 7 % 100;
          std::vector<float> data(count + 1, -1.0F);
          for (size_t i = 0; i < count; ++i) data[i] = static_cast<float>(rank * 100 + i + round);
          CollArgs args{};
          args.comm = world.view(rank);
          args.call = kAllReduce;
          args.algo = algo;
          args.reduction.type = TW_FP32;
          args.reduction.op = TW_SUM;
          args.digest = 77;
          args.root = -1;
          args.count = count;
          args.element = 4;
          args.send = args.recv = data.data();
          World::launch(kernels::all_reduce.cpu[static_cast<int>(CpuTarget::kPortable)], &args,
                        blocks, false);
          for (size_t i = 0; i < count; ++i)
            ASSERT_EQ(data[i], static_cast<float>(100 + 2 * (i + round))) << i << " of " << count;
          ASSERT_EQ(data[count], -1.0F);
        }
      });
      EXPECT_EQ(world.failure(), TW_OK);
    }
  }
}

}  // namespace
}  // namespace tw::test
