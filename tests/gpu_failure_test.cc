// Comms on GPUs that end: kernels leave in bounded time, and every rank gets a sentence.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "tests/runner/gpus.h"
#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

using Clock = std::chrono::steady_clock;

/// A window's memory at one rank on a GPU.
class GpuWindow {
 public:
  GpuWindow(tw_comm_t comm, int rank, size_t bytes) {
    EXPECT_EQ(tw_window_create(comm, bytes, &window_), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_window_ptr(window_, rank, &memory_), TW_OK) << tw_last_error();
  }
  GpuWindow(const GpuWindow&) = delete;
  GpuWindow& operator=(const GpuWindow&) = delete;
  ~GpuWindow() { tw_window_destroy(window_); }
  void* memory() const { return memory_; }

 private:
  tw_window_t window_ = nullptr;
  void* memory_ = nullptr;
};

/// The comm's status, once it has ended or 5 s have passed, and its sentence.
tw_status_t wait_for_error(tw_comm_t comm, std::string* sentence) {
  const auto end = Clock::now() + std::chrono::seconds(5);
  tw_status_t status = TW_OK;
  const char* said = "";
  do {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(tw_comm_error(comm, &status, &said), TW_OK);
  } while (status == TW_OK && Clock::now() < end);
  *sentence = said;
  return status;
}

struct Ended {
  tw_status_t status;
  std::string sentence;
};

/// Two ranks; `call` makes each one's call. What their comms ended with, when all kernels had left.
template <class MakeCall>
std::vector<Ended> end_two(const tw_comm_config_t& config, MakeCall call) {
  const ScopedEnv on_gpus("TW_DEVICE_KIND", "gpu");
  const ThreadRanks ranks(2, &config);
  std::vector<Ended> all(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    Gpu gpu(rank);
    const GpuWindow window(comm, rank, 1 << 16);
    ASSERT_EQ(tw_barrier(comm, nullptr), TW_OK) << tw_last_error();
    call(rank, comm, window.memory());
    Ended& mine = all[static_cast<size_t>(rank)];
    mine.status = wait_for_error(comm, &mine.sentence);
    gpu.synchronize();  // returns: the kernels have left
    EXPECT_EQ(tw_barrier(comm, nullptr), mine.status);
    EXPECT_EQ(tw_last_error(), mine.sentence);
  });
  return all;
}

TEST(GpuFailure, ALatePeerIsATimeOutThatNamesIt) {
  TW_NEED_GPUS(2);
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.timeout_ms = 200;
  const std::vector<Ended> all = end_two(config, [](int rank, tw_comm_t comm, void* memory) {
    if (rank == 1) return;
    EXPECT_EQ(tw_all_reduce(memory, memory, 4096, TW_FP32, TW_SUM, comm, nullptr), TW_OK);
  });
  for (const Ended& one : all) {
    EXPECT_EQ(one.status, TW_ERROR_TIMEOUT) << one.sentence;
    EXPECT_NE(one.sentence.find("rank 0 waited 200 ms in all_reduce for rank 1"), std::string::npos)
        << one.sentence;
    EXPECT_NE(one.sentence.find("call 2, block 0"), std::string::npos) << one.sentence;
  }
}

TEST(GpuFailure, CallsThatDifferAreShown) {
  TW_NEED_GPUS(2);
  const tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  const std::vector<Ended> all = end_two(config, [](int rank, tw_comm_t comm, void* memory) {
    EXPECT_EQ(
        tw_all_reduce(memory, memory, rank == 0 ? 1000 : 1001, TW_FP32, TW_SUM, comm, nullptr),
        TW_OK);
  });
  for (const Ended& one : all) {
    EXPECT_EQ(one.status, TW_ERROR_MISMATCH) << one.sentence;
    for (const char* part : {"call 2", "all_reduce(count 1000, ", "all_reduce(count 1001, "})
      EXPECT_NE(one.sentence.find(part), std::string::npos) << one.sentence;
  }
}

/// A product of ones over the window's memory, m x 4.
tw_status_t multiply(tw_comm_t comm, void* memory, size_t m) {
  float* const at = static_cast<float*>(memory);
  tw_gemm_args_t args = TW_GEMM_ARGS_INIT;
  args.m = m;
  args.n = args.k = 4;
  args.type = args.out_type = TW_FP32;
  args.a = at;
  args.b = at + 1024;
  args.c = at + 2048;
  return tw_gemm_all_reduce(&args, comm, nullptr);
}

TEST(GpuFailure, FusedCallsThatDifferAreShown) {
  TW_NEED_GPUS(2);
  const tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  for (const bool there : {false, true}) {  // the workspace: who grows it hears of it at once
    const std::vector<Ended> all = end_two(config, [&](int rank, tw_comm_t comm, void* memory) {
      if (there) {
        ASSERT_EQ(multiply(comm, memory, 9), TW_OK) << tw_last_error();
      }
      const tw_status_t status = multiply(comm, memory, rank == 0 ? 7 : 8);
      EXPECT_EQ(status, there ? TW_OK : TW_ERROR_MISMATCH) << tw_last_error();
    });
    for (const Ended& one : all) {
      EXPECT_EQ(one.status, TW_ERROR_MISMATCH) << one.sentence;
      for (const char* part : {there ? "call 3" : "call 2", "gemm_all_reduce(m 7", "m 8"})
        EXPECT_NE(one.sentence.find(part), std::string::npos) << one.sentence;
    }
  }
}

TEST(GpuFailure, ALatePeerInAFusedCallIsATimeOut) {
  TW_NEED_GPUS(2);
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.timeout_ms = 400;
  const std::vector<Ended> all = end_two(config, [](int rank, tw_comm_t comm, void* memory) {
    ASSERT_EQ(multiply(comm, memory, 8), TW_OK) << tw_last_error();
    if (rank == 1) return;
    EXPECT_EQ(multiply(comm, memory, 8), TW_OK) << tw_last_error();
  });
  for (const Ended& one : all) {
    EXPECT_EQ(one.status, TW_ERROR_TIMEOUT) << one.sentence;
    EXPECT_NE(one.sentence.find("rank 0 waited 400 ms in gemm_all_reduce for rank 1"),
              std::string::npos)
        << one.sentence;
  }
}

TEST(GpuFailure, AnAbortEndsKernelsThatWait) {
  TW_NEED_GPUS(2);
  const tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  std::atomic<bool> called{false};  // rank 0 is out of the barrier before, which an abort ends too
  const std::vector<Ended> all = end_two(config, [&](int rank, tw_comm_t comm, void* memory) {
    if (rank == 0) {
      EXPECT_EQ(tw_all_reduce(memory, memory, 64, TW_FP32, TW_SUM, comm, nullptr), TW_OK);
      called = true;
    } else {
      while (!called) std::this_thread::yield();
      EXPECT_EQ(tw_comm_abort(comm), TW_OK);
    }
  });
  for (const Ended& one : all) {
    EXPECT_EQ(one.status, TW_ERROR_ABORTED);
    EXPECT_EQ(one.sentence, "rank 1 called tw_comm_abort");
  }
}

/// What comms on GPUs do not do is refused in a sentence, before any peer hears of it.
TEST(GpuFailure, WhatRunsOnCpusOnlyIsRefused) {
  TW_NEED_GPUS(1);
  const ScopedEnv on_gpus("TW_DEVICE_KIND", "gpu");
  const ThreadRanks ranks(1);
  tw_comm_t comm = ranks.comm(0);
  const auto refused = [&](tw_status_t status, const char* what) {
    EXPECT_EQ(status, TW_ERROR_UNSUPPORTED) << what;
    EXPECT_NE(std::string(tw_last_error()).find(what), std::string::npos) << tw_last_error();
  };
  tw_window_t window;
  alignas(4096) char memory[64];
  refused(tw_window_register(comm, memory, sizeof memory, &window), "tw_window_register");
  tw_program_config_t program = TW_PROGRAM_CONFIG_INIT;
  tw_program_t made;
  refused(tw_program_create(comm, &program, &made), "tw_program_create");
  // The comm goes on.
  EXPECT_EQ(tw_barrier(comm, nullptr), TW_OK) << tw_last_error();
  // Host memory that CUDA does not know is no buffer.
  EXPECT_EQ(tw_all_reduce(memory, memory, 4, TW_FP32, TW_SUM, comm, nullptr),
            TW_ERROR_INVALID_ARGUMENT);
  EXPECT_NE(std::string(tw_last_error()).find("does not reach"), std::string::npos)
      << tw_last_error();
  tw_gemm_args_t gemm = TW_GEMM_ARGS_INIT;
  gemm.m = gemm.n = gemm.k = 2;
  gemm.type = gemm.out_type = TW_FP32;
  gemm.a = gemm.b = memory;
  gemm.c = memory + 32;
  for (const auto call : {tw_gemm, tw_gemm_all_reduce}) {
    EXPECT_EQ(call(&gemm, comm, nullptr), TW_ERROR_INVALID_ARGUMENT);
    EXPECT_NE(std::string(tw_last_error()).find("args.a = "), std::string::npos) << tw_last_error();
  }
  EXPECT_EQ(tw_barrier(comm, nullptr), TW_OK) << tw_last_error();
}

TEST(GpuFailure, RanksOnOneGpuAreRefused) {
  TW_NEED_GPUS(1);
  const ScopedEnv on_gpus("TW_DEVICE_KIND", "gpu");
  const int gpus = gpu::Driver::get().gpus();
  std::vector<tw_comm_t> comms(static_cast<size_t>(gpus) + 1);
  EXPECT_EQ(tw_comm_create_all(gpus + 1, nullptr, comms.data()), TW_ERROR_UNSUPPORTED);
  EXPECT_NE(std::string(tw_last_error()).find("are on the same GPU"), std::string::npos)
      << tw_last_error();
}

TEST(GpuFailure, AGpuThatIsNotThere) {
  TW_NEED_GPUS(1);
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.device.kind = TW_DEVICE_GPU;
  config.device.ordinal = 99;
  tw_unique_id_t id;
  tw_comm_t comm;
  ASSERT_EQ(tw_unique_id_create(&id), TW_OK);
  EXPECT_EQ(tw_comm_create(1, 0, &id, &config, &comm), TW_ERROR_INVALID_ARGUMENT);
  EXPECT_NE(std::string(tw_last_error()).find("GPU 99; valid: 0 to "), std::string::npos)
      << tw_last_error();
}

}  // namespace
}  // namespace tw::test
