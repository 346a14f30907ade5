// Collectives of comms on GPUs, by the C API: windows in GPU memory, kernels launched there.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <tuple>
#include <vector>

#include "lib/comm/call_text.h"
#include "tests/runner/coll_cases.h"
#include "tests/runner/gpus.h"
#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

TEST(GpuColl, AWindowIsReducedInPlace) {
  TW_NEED_GPUS(2);
  const ScopedEnv on_gpus("TW_DEVICE_KIND", "gpu");
  const ThreadRanks ranks(2);
  constexpr size_t kCount = 1000;
  ranks.run([&](int rank, tw_comm_t comm) {
    Gpu gpu(rank);
    tw_device_t device = TW_DEVICE_INIT;
    ASSERT_EQ(tw_comm_device(comm, &device), TW_OK);
    EXPECT_EQ(device.kind, TW_DEVICE_GPU);
    EXPECT_EQ(device.ordinal, rank);
    tw_window_t window = nullptr;
    void* memory = nullptr;
    ASSERT_EQ(tw_window_create(comm, kCount * sizeof(float), &window), TW_OK) << tw_last_error();
    ASSERT_EQ(tw_window_ptr(window, rank, &memory), TW_OK);
    std::vector<float> data(kCount);
    for (size_t i = 0; i < kCount; ++i) data[i] = static_cast<float>(i) + 0.25f * rank;
    gpu.write(memory, data.data(), kCount * sizeof(float));
    for (int call = 0; call < 3; ++call)
      ASSERT_EQ(tw_all_reduce(memory, memory, kCount, TW_FP32, TW_SUM, comm, nullptr), TW_OK)
          << tw_last_error();
    gpu.synchronize();
    gpu.read(data.data(), memory, kCount * sizeof(float));
    for (size_t i = 0; i < kCount; ++i)
      ASSERT_EQ(data[i], 4 * (2 * static_cast<float>(i) + 0.25f)) << "element " << i;
    EXPECT_EQ(tw_window_destroy(window), TW_OK) << tw_last_error();
  });
}

/// The case tables of the collectives as they are on CPUs: whole on two GPUs, and with
/// TW_TEST_LONG=1 on any number.
class GpuCases : public testing::TestWithParam<std::tuple<int, CollOp>> {};

TEST_P(GpuCases, BitForBit) {
  const auto [n, op] = GetParam();
  TW_NEED_GPUS(n);
  const ScopedEnv on_gpus("TW_DEVICE_KIND", "gpu");
  const bool whole = n == 2 || std::getenv("TW_TEST_LONG") != nullptr;
  run_cases(n, whole ? cases_of(op, n) : few_cases_of(op, n));
}

/// Messages of several blocks and, through staging, several rounds.
TEST(GpuColl, LargeMessages) {
  TW_NEED_GPUS(2);
  const ScopedEnv on_gpus("TW_DEVICE_KIND", "gpu");
  std::vector<CollCase> cases;
  for (const CollOp op : {kAllReduce, kAllGather, kReduceScatter, kAllToAll, kBroadcast})
    for (const Memory memory : {Memory::kPrivate, Memory::kWindow, Memory::kMixed}) {
      CollCase c;
      c.call = op;
      c.type = op == kAllReduce ? TW_BF16 : TW_FP32;
      c.count = 250'003;
      c.memory = memory;
      cases.push_back(c);
    }
  run_cases(2, cases, 4 << 20);
}

std::string case_name(const testing::TestParamInfo<std::tuple<int, CollOp>>& info) {
  return std::string(call_name(std::get<1>(info.param))) + "_" +
         std::to_string(std::get<0>(info.param));
}

INSTANTIATE_TEST_SUITE_P(Ranks, GpuCases,
                         testing::Combine(testing::Values(1, 2, 3, 4, 5, 7, 8),
                                          testing::Values(kAllReduce, kReduce, kBroadcast,
                                                          kAllGather, kReduceScatter, kAllToAll,
                                                          kGather, kScatter, kAllGatherV,
                                                          kReduceScatterV, kAllToAllV, kBarrier)),
                         case_name);

}  // namespace
}  // namespace tw::test
