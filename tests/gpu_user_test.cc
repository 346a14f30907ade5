// What users' own kernels and programs do on GPUs: signals, views of windows, and the kernels and
// tile programs of the examples, from their files.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include "tests/examples/03_user_kernel/ring_shift.h"
#include "tests/examples/06_fused_kernel/gemm_bias_gelu.h"
#include "tests/runner/gpus.h"
#include "tests/runner/ranks.h"

#define TW_KERNEL_ROWS "tests/gpu/user_kernels.def"
#include "tilewire/kernels/table.h"

namespace tw::test {
namespace {

/// A window and its memory at one rank.
class OwnWindow {
 public:
  OwnWindow(tw_comm_t comm, int rank, size_t bytes) {
    EXPECT_EQ(tw_window_create(comm, bytes, &window_), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_window_ptr(window_, rank, &memory_), TW_OK) << tw_last_error();
  }
  OwnWindow(const OwnWindow&) = delete;
  OwnWindow& operator=(const OwnWindow&) = delete;
  ~OwnWindow() { EXPECT_EQ(tw_window_destroy(window_), TW_OK) << tw_last_error(); }
  tw_window_t handle() const { return window_; }
  char* memory() const { return static_cast<char*>(memory_); }

 private:
  tw_window_t window_ = nullptr;
  void* memory_ = nullptr;
};

class GpuUser : public testing::TestWithParam<int> {
 protected:
  /// body(rank, comm, gpu) on every rank.
  template <class Body>
  static void on_gpus(int n, Body body, const tw_comm_config_t* config = nullptr) {
    TW_NEED_GPUS(n);
    const ScopedEnv on_gpus("TW_DEVICE_KIND", "gpu");
    const ThreadRanks ranks(n, config);
    ranks.run([&](int rank, tw_comm_t comm) {
      Gpu gpu(rank);
      body(rank, comm, gpu);
    });
  }
};

// Every rank puts numbers into its right neighbour's window and signals, on a stream.
TEST_P(GpuUser, SignalsOrderWhatWasPut) {
  const int n = GetParam();
  on_gpus(n, [n](int rank, tw_comm_t comm, Gpu& gpu) {
    constexpr size_t kCount = 1000, kBytes = kCount * sizeof(int);
    const OwnWindow window(comm, rank, 3 * kBytes);  // sent, arrived, taken
    void* const stream = gpu.create_stream();
    tw_signals_t signals;
    ASSERT_EQ(tw_signals_create(comm, 2, &signals), TW_OK) << tw_last_error();
    const int right = (rank + 1) % n, left = (rank + n - 1) % n;
    std::vector<int> numbers(kCount);
    for (int round = 1; round <= 3; ++round) {
      for (size_t i = 0; i < kCount; ++i)
        numbers[i] = 1000000 * round + 1000 * rank + static_cast<int>(i);
      gpu.write(window.memory(), numbers.data(), kBytes);
      ASSERT_EQ(tw_put(window.handle(), right, kBytes, window.memory(), kBytes, stream), TW_OK);
      ASSERT_EQ(tw_signal(signals, right, 0, stream), TW_OK) << tw_last_error();
      ASSERT_EQ(tw_wait_signal(signals, left, 0, round, -1, stream), TW_OK) << tw_last_error();
      ASSERT_EQ(tw_get(window.memory() + 2 * kBytes, window.handle(), rank, kBytes, kBytes, stream),
                TW_OK);
      // The neighbour may write again once this has been read.
      ASSERT_EQ(tw_signal(signals, left, 1, stream), TW_OK);
      ASSERT_EQ(tw_wait_signal(signals, right, 1, round, -1, stream), TW_OK);
      gpu.synchronize(stream);
      gpu.read(numbers.data(), window.memory() + 2 * kBytes, kBytes);
      for (size_t i = 0; i < kCount; ++i)
        ASSERT_EQ(numbers[i], 1000000 * round + 1000 * left + static_cast<int>(i));
    }
    EXPECT_EQ(tw_signals_destroy(signals), TW_OK) << tw_last_error();
    gpu.destroy_stream(stream);
  });
}

TEST_P(GpuUser, AKernelWithWindowsAndSignals) {
  const int n = GetParam();
  on_gpus(n, [n](int rank, tw_comm_t comm, Gpu& gpu) {
    constexpr size_t kBytes = 10007;
    const OwnWindow window(comm, rank, 2 * kBytes);
    RingShiftArgs args = {};
    tw_signals_t signals;
    ASSERT_EQ(tw_signals_create(comm, 4, &signals), TW_OK) << tw_last_error();
    ASSERT_EQ(tw_window_get_view(window.handle(), &args.window), TW_OK) << tw_last_error();
    ASSERT_EQ(tw_signals_get_view(signals, &args.signals), TW_OK) << tw_last_error();
    args.bytes = kBytes;
    std::vector<unsigned char> bytes(kBytes);
    for (size_t i = 0; i < kBytes; ++i) bytes[i] = static_cast<unsigned char>(7 * i + rank);
    for (int launch = 1; launch <= 3; ++launch) {
      gpu.write(window.memory(), bytes.data(), kBytes);
      ASSERT_EQ(tw_kernel_launch(&ring_shift_kernel, comm, &args, sizeof args, 2, nullptr), TW_OK)
          << tw_last_error();
      gpu.synchronize();
      gpu.read(bytes.data(), window.memory() + kBytes, kBytes);
      const int from = ((rank - launch) % n + n) % n;
      for (size_t i = 0; i < kBytes; ++i)
        ASSERT_EQ(bytes[i], static_cast<unsigned char>(7 * i + from)) << "launch " << launch;
    }
    EXPECT_EQ(tw_signals_destroy(signals), TW_OK) << tw_last_error();
  });
}

constexpr size_t kM = 200, kN = 300, kK = 130;  // K: of each rank

float a_at(int rank, size_t i, size_t k) {
  return static_cast<float>((3 * i + 5 * k + static_cast<size_t>(rank)) % 9) / 8 - 0.5f;
}
float b_at(int rank, size_t k, size_t j) {
  return static_cast<float>((7 * k + 2 * j + static_cast<size_t>(rank)) % 7) / 8 - 0.375f;
}

/// gelu of all ranks' sums and the bias.
std::vector<float> wanted(int n) {
  std::vector<float> sums(kM * kN);
  for (int r = 0; r < n; ++r)
    for (size_t i = 0; i < kM; ++i)
      for (size_t k = 0; k < kK; ++k)
        for (size_t j = 0; j < kN; ++j) sums[i * kN + j] += a_at(r, i, k) * b_at(r, k, j);
  for (size_t i = 0; i < sums.size(); ++i) {
    const float x = sums[i] + static_cast<float>(i % kN) / 64;
    sums[i] = x / 2 * (1 + std::erf(x / std::sqrt(2.0f)));
  }
  return sums;
}

/// The operands of example 06 in a window's memory.
void fill(GemmBiasGeluArgs& args, int rank, Gpu& gpu, char* memory) {
  std::vector<float> all(kM * kK + kK * kN + kN);
  float* const a = all.data();
  float* const b = a + kM * kK;
  float* const bias = b + kK * kN;
  for (size_t i = 0; i < kM * kK; ++i) a[i] = a_at(rank, i / kK, i % kK);
  for (size_t i = 0; i < kK * kN; ++i) b[i] = b_at(rank, i / kN, i % kN);
  for (size_t j = 0; j < kN; ++j) bias[j] = static_cast<float>(j) / 64;
  gpu.write(memory, all.data(), all.size() * sizeof(float));
  const auto there = [&](const float* p) { return memory + (p - a) * sizeof(float); };
  args.grid = tile_grid(whole(kM, kGpuTile.rows), whole(kN, kGpuTile.cols), Raster::kRowsOuter);
  args.a = {there(a), kK, kM, kK, TW_FP32, MatrixLayout::kRows, nullptr};
  args.b = {there(b), kN, kK, kN, TW_FP32, MatrixLayout::kRows, nullptr};
  args.c = {there(bias + kN), kN, TW_FP32};
  args.epilogue = {there(bias), TW_FP32, Activation::kGelu, {}, 0};
  args.partials = {0, slot_bytes(args.grid, TW_FP32), args.grid.ids(), TW_FP32};
}

TEST_P(GpuUser, ATileProgram) {
  const int n = GetParam();
  const std::vector<float> want = wanted(n);
  on_gpus(n, [&](int rank, tw_comm_t comm, Gpu& gpu) {
    const OwnWindow window(comm, rank, (kM * kK + kK * kN + kN + kM * kN) * sizeof(float));
    GemmBiasGeluArgs args = {};
    fill(args, rank, gpu, window.memory());
    tw_tiles_config_t config = TW_TILES_CONFIG_INIT;
    config.bytes = args.partials.end(n);
    config.slots = args.grid.ids();
    config.k = kK;
    tw_tiles_t tiles;
    ASSERT_EQ(tw_tiles_create(comm, &config, &tiles), TW_OK) << tw_last_error();
    ASSERT_EQ(tw_tiles_get_view(tiles, &args.tiles), TW_OK) << tw_last_error();
    std::vector<float> c(kM * kN);
    for (int launch = 1; launch <= 3; ++launch) {
      c.assign(kM * kN, NAN);
      gpu.write(args.c.data, c.data(), c.size() * sizeof(float));
      ASSERT_EQ(tw_kernel_launch(&gemm_bias_gelu_kernel, comm, &args, sizeof args, 3, nullptr),
                TW_OK)
          << tw_last_error();
      gpu.synchronize();
      gpu.read(c.data(), args.c.data, c.size() * sizeof(float));
      for (size_t i = 0; i < c.size(); ++i)
        ASSERT_NEAR(c[i], want[i], 1e-5 * (1 + std::fabs(want[i])))
            << "launch " << launch << ", element " << i;
    }
    EXPECT_EQ(tw_tiles_destroy(tiles), TW_OK) << tw_last_error();
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, GpuUser, testing::Values(1, 2, 3, 8));

// The sender counts where its kernel runs: a replay is one more signal.
TEST_F(GpuUser, ReplayedSignalsCount) {
  on_gpus(2, [](int rank, tw_comm_t comm, Gpu& gpu) {
    void* const stream = gpu.create_stream();
    tw_signals_t signals;
    ASSERT_EQ(tw_signals_create(comm, 3, &signals), TW_OK) << tw_last_error();
    gpu.begin_capture(stream);
    EXPECT_EQ(tw_signal(signals, 1 - rank, 2, stream), TW_OK) << tw_last_error();
    void* const graph = gpu.end_capture(stream);
    for (uint64_t round = 1; round <= 3; ++round) {
      gpu.launch_graph(graph, stream);
      EXPECT_EQ(tw_wait_signal(signals, 1 - rank, 2, 2 * round - 1, -1, stream), TW_OK);
      EXPECT_EQ(tw_signal(signals, 1 - rank, 2, stream), TW_OK) << tw_last_error();
      EXPECT_EQ(tw_wait_signal(signals, 1 - rank, 2, 2 * round, -1, stream), TW_OK);
      gpu.synchronize(stream);
    }
    EXPECT_EQ(tw_barrier(comm, nullptr), TW_OK) << tw_last_error();
    gpu.synchronize();
    gpu.destroy_graph(graph);
    EXPECT_EQ(tw_signals_destroy(signals), TW_OK) << tw_last_error();
    gpu.destroy_stream(stream);
  });
}

TEST_F(GpuUser, ASignalThatDoesNotComeIsATimeOut) {
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.timeout_ms = 200;
  on_gpus(
      2,
      [](int rank, tw_comm_t comm, Gpu& gpu) {
        tw_signals_t signals;
        ASSERT_EQ(tw_signals_create(comm, 4, &signals), TW_OK) << tw_last_error();
        EXPECT_EQ(tw_wait_signal(signals, 0, 0, 0, 500, nullptr), TW_ERROR_UNSUPPORTED);
        if (rank == 0) {
          EXPECT_EQ(tw_wait_signal(signals, 1, 3, 7, 200, nullptr), TW_OK) << tw_last_error();
        }
        tw_status_t status = TW_OK;
        const char* said = "";
        for (int i = 0; status == TW_OK && i < 5000; ++i) {
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
          EXPECT_EQ(tw_comm_error(comm, &status, &said), TW_OK);
        }
        gpu.synchronize();
        EXPECT_EQ(status, TW_ERROR_TIMEOUT);
        EXPECT_NE(std::string(said).find("rank 0 waited 200 ms in tw_wait_signal for rank 1"),
                  std::string::npos)
            << said;
        tw_signals_destroy(signals);
      },
      &config);
}

}  // namespace
}  // namespace tw::test
