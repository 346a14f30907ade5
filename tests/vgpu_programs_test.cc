// Whole kernels that nvcc compiled (tests/vgpu/kernels): all-reduces between GPUs and GEMMs, on
// data whose sums are exact.
#include <fstream>
#include <random>
#include <sstream>

#include "tests/vgpu/gpu_test.h"

namespace tw::test {
namespace {

constexpr int kMostGpus = 8;
constexpr size_t kGranularity = size_t{2} << 20;

uint16_t bfloat(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>(bits >> 16);
}

float value_of(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

/// Whole numbers from -low to low.
std::vector<uint16_t> numbers(size_t count, int low, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<uint16_t> values(count);
  for (uint16_t& value : values)
    value = bfloat(
        static_cast<float>(static_cast<int>(random() % static_cast<unsigned>(2 * low + 1)) - low));
  return values;
}

class Programs : public GpuTest {
 protected:
  CUfunction load_fixture(const char* file, const char* name) {
    std::ifstream in(std::string("tests/fixtures/vgpu/") + file);
    EXPECT_TRUE(in) << file << " (tests run in the root folder)";
    std::stringstream text;
    text << in.rdbuf();
    return function(load(text.str()), name);
  }

  /// All GPUs may access each other's allocations.
  void connect(int gpus) {
    CUcontext contexts[kMostGpus];
    for (int i = 0; i < gpus; ++i) TW_CU(cu.cuDevicePrimaryCtxRetain(&contexts[i], i));
    for (int i = 0; i < gpus; ++i) {
      use(i);
      for (int j = 0; j < gpus; ++j)
        if (i != j) TW_CU(cu.cuCtxEnablePeerAccess(contexts[j], 0));
    }
  }
  void synchronize_all(int gpus) {
    for (int i = 0; i < gpus; ++i) {
      use(i);
      synchronize();
    }
  }
};

struct OneShotArguments {
  CUdeviceptr in[kMostGpus];
  CUdeviceptr out;
  CUdeviceptr signals[kMostGpus];
  int rank, world;
  uint32_t epoch;
  int vectors;
};

class OneShot : public Programs, public ::testing::WithParamInterface<int> {};

TEST_P(OneShot, AddsAllInputs) {
  const int gpus = GetParam();
  constexpr size_t kCount = 64 * 1024;
  constexpr unsigned kBlocks = 8;
  connect(gpus);
  OneShotArguments arguments[kMostGpus] = {};
  std::vector<float> want(kCount, 0);
  CUdeviceptr in[kMostGpus], signals[kMostGpus];
  for (int i = 0; i < gpus; ++i) {
    use(i);
    const auto values = numbers(kCount, 15, static_cast<unsigned>(i));
    for (size_t j = 0; j < kCount; ++j) want[j] += value_of(values[j]);
    in[i] = upload(values);
    signals[i] = upload(std::vector<uint32_t>(kBlocks * kMostGpus, 0));
    arguments[i].out = upload(std::vector<uint16_t>(kCount, 0x7fff));
  }
  for (uint32_t call = 0; call < 3; ++call) {
    for (int i = 0; i < gpus; ++i) {
      use(i);
      std::copy(in, in + gpus, arguments[i].in);
      std::copy(signals, signals + gpus, arguments[i].signals);
      arguments[i].rank = i;
      arguments[i].world = gpus;
      arguments[i].epoch = 2 * call + 1;
      arguments[i].vectors = kCount / 8;
      launch(load_fixture("one_shot_all_reduce.ptx", "oneshot_allreduce"), kBlocks, 256,
             {&arguments[i]});
    }
    synchronize_all(gpus);
    for (int i = 0; i < gpus; ++i) {
      const auto got = download<uint16_t>(arguments[i].out, kCount);
      for (size_t j = 0; j < kCount; ++j)
        ASSERT_EQ(value_of(got[j]), want[j]) << "GPU " << i << " element " << j << " call " << call;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Gpus, OneShot, ::testing::Values(1, 2, 8));

struct MulticastArguments {
  CUdeviceptr multicast, multicast_signals, own_signals;
  int rank, world;
  uint32_t epoch;
  int vectors;
};

TEST_F(Programs, MulticastAllReduce) {
  constexpr int kGpus = 4;
  constexpr size_t kCount = 32 * 1024;
  constexpr unsigned kBlocks = 4;
  constexpr size_t kSignals = kGranularity / 2;  // offset in each GPU's memory
  CUmulticastObjectProp properties{};
  properties.numDevices = kGpus;
  properties.size = kGranularity;
  CUmemGenericAllocationHandle object = 0, memory[kGpus];
  TW_CU(cu.cuMulticastCreate(&object, &properties));
  for (int i = 0; i < kGpus; ++i) TW_CU(cu.cuMulticastAddDevice(object, i));
  CUdeviceptr own[kGpus], multicast = 0;
  std::vector<CUmemAccessDesc> rights(kGpus);
  for (int i = 0; i < kGpus; ++i)
    rights[static_cast<size_t>(i)] = {{CU_MEM_LOCATION_TYPE_DEVICE, i},
                                      CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  std::vector<float> want(kCount, 0);
  for (int i = 0; i < kGpus; ++i) {
    use(i);
    CUmemAllocationProp of{};
    of.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    of.location = {CU_MEM_LOCATION_TYPE_DEVICE, i};
    TW_CU(cu.cuMemCreate(&memory[i], kGranularity, &of, 0));
    TW_CU(cu.cuMulticastBindMem(object, 0, memory[i], 0, kGranularity, 0));
    TW_CU(cu.cuMemAddressReserve(&own[i], kGranularity, 0, 0, 0));
    TW_CU(cu.cuMemMap(own[i], kGranularity, 0, memory[i], 0));
    TW_CU(cu.cuMemSetAccess(own[i], kGranularity, rights.data(), rights.size()));
    const auto values = numbers(kCount, 15, static_cast<unsigned>(i) + 50);
    for (size_t j = 0; j < kCount; ++j) want[j] += value_of(values[j]);
    TW_CU(cu.cuMemcpyHtoD(own[i], values.data(), kCount * 2));
  }
  TW_CU(cu.cuMemAddressReserve(&multicast, kGranularity, 0, 0, 0));
  TW_CU(cu.cuMemMap(multicast, kGranularity, 0, object, 0));
  TW_CU(cu.cuMemSetAccess(multicast, kGranularity, rights.data(), rights.size()));
  for (int i = 0; i < kGpus; ++i) {
    use(i);
    MulticastArguments arguments{multicast, multicast + kSignals, own[i] + kSignals, i, kGpus, 1,
                                 kCount / 8};
    launch(load_fixture("multicast_all_reduce.ptx", "mm_twoshot"), kBlocks, 256, {&arguments});
  }
  synchronize_all(kGpus);
  for (int i = 0; i < kGpus; ++i) {
    const auto got = download<uint16_t>(own[i], kCount);
    for (size_t j = 0; j < kCount; ++j)
      ASSERT_EQ(value_of(got[j]), want[j]) << "GPU " << i << " element " << j;
  }
  // Nothing is left mapped, and what is gone is refused.
  for (int i = 0; i < kGpus; ++i) {
    TW_CU(cu.cuMemUnmap(own[i], kGranularity));
    TW_CU(cu.cuMemRelease(memory[i]));
    TW_CU(cu.cuMemAddressFree(own[i], kGranularity));
    EXPECT_EQ(cu.cuMemUnmap(own[i], kGranularity), CUDA_ERROR_INVALID_VALUE);
  }
  TW_CU(cu.cuMemUnmap(multicast, kGranularity));
  TW_CU(cu.cuMemRelease(object));
}

class Gemm : public Programs {
 protected:
  void SetUp() override {
    use(0);
    left_ = numbers(kSize * kSize, 1, 3);
    right_ = numbers(kSize * kSize, 1, 4);
    a = upload(left_);
    b = upload(right_);
    c = upload(std::vector<uint16_t>(kSize * kSize, 0x7fff));
  }
  void check() {
    synchronize();
    const auto got = download<uint16_t>(c, kSize * kSize);
    for (size_t row = 0; row < kSize; ++row)
      for (size_t column = 0; column < kSize; ++column) {
        float sum = 0;
        for (size_t k = 0; k < kSize; ++k)
          sum += value_of(left_[row * kSize + k]) * value_of(right_[column * kSize + k]);
        ASSERT_EQ(value_of(got[row * kSize + column]), sum) << row << ", " << column;
      }
  }
  CUtensorMap map_of(CUdeviceptr matrix) {
    CUtensorMap map;
    const cuuint64_t extents[] = {kSize, kSize}, strides[] = {kSize * 2};
    const cuuint32_t box[] = {64, 128}, steps[] = {1, 1};
    EXPECT_EQ(cu.cuTensorMapEncodeTiled(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2,
                                        reinterpret_cast<void*>(matrix), extents, strides, box,
                                        steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                        CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_NONE,
                                        CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
              CUDA_SUCCESS);
    return map;
  }

  static constexpr size_t kSize = 256;
  int size = kSize;
  CUdeviceptr a = 0, b = 0, c = 0;

 private:
  std::vector<uint16_t> left_, right_;
};

TEST_F(Gemm, ByMmaSync) {
  std::vector<void*> arguments = {&a, &b, &c, &size, &size, &size};
  TW_CU(cu.cuLaunchKernel(load_fixture("mma_gemm.ptx", "gemm_mma"), kSize / 64, kSize / 64, 1, 128,
                          1, 1, 3 * 128 * 32 * 2, nullptr, arguments.data(), nullptr));
  check();
}

TEST_F(Gemm, ByWgmmaAndTensorCopies) {
  constexpr int kShared = 3 * 256 * 64 * 2 + 1024;
  const CUfunction gemm = load_fixture("wgmma_gemm.ptx", "gemm_wgmma");
  CUtensorMap map_a = map_of(a), map_b = map_of(b);
  std::vector<void*> arguments = {&map_a, &map_b, &c, &size, &size, &size};
  // More than 48 KiB has to be asked for.
  EXPECT_EQ(
      cu.cuLaunchKernel(gemm, 2, 2, 1, 384, 1, 1, kShared, nullptr, arguments.data(), nullptr),
      CUDA_ERROR_INVALID_VALUE);
  TW_CU(cu.cuFuncSetAttribute(gemm, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, kShared));
  TW_CU(cu.cuLaunchKernel(gemm, 2, 2, 1, 384, 1, 1, kShared, nullptr, arguments.data(), nullptr));
  check();
}

}  // namespace
}  // namespace tw::test
