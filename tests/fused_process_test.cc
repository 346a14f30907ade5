// Fused calls of ranks as processes: what one of them lacks, or has otherwise than the others,
// reaches all of them, promptly.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "tests/runner/processes.h"
#include "tests/runner/ranks.h"
#include "tests/support/gemm_call.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    defined(TW_SANITIZE_ADDRESS) || defined(TW_SANITIZE_THREAD)
constexpr bool kSanitized = true;  // the shadow memory does not fit under any limit
#else
constexpr bool kSanitized = false;
#endif

namespace tw::test {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPrompt = std::chrono::seconds(2);
constexpr int kRanks = 3;

bool says(const std::string& text) {
  if (std::string(tw_last_error()).find(text) != std::string::npos) return true;
  std::fprintf(stderr, "no \"%s\" in: %s\n", text.c_str(), tw_last_error());
  return false;
}

/// While it lives, this process gets hardly any more memory.
class NoMemory {
 public:
  NoMemory() {
    getrlimit(RLIMIT_AS, &old_);
    std::ifstream file("/proc/self/statm");
    rlim_t pages = 0;
    file >> pages;
    const rlimit less = {pages * 4096 + (size_t{1} << 20), old_.rlim_max};
    setrlimit(RLIMIT_AS, &less);
  }
  NoMemory(const NoMemory&) = delete;
  NoMemory& operator=(const NoMemory&) = delete;
  ~NoMemory() { setrlimit(RLIMIT_AS, &old_); }

 private:
  rlimit old_{};
};

/// A call for which rank 1 has no memory: 0 when it fails there and, in time, everywhere, for the
/// reason that there is.
int fails_everywhere(int rank, tw_comm_t comm, tw_stream_t stream) {
  const GemmOperands operands({}, rank, kRanks);
  const tw_gemm_args_t args = operands.args();
  if (tw_barrier(comm, nullptr) != TW_OK) return 4;  // all ranks have the comm
  const Clock::time_point begin = Clock::now();
  tw_status_t status = TW_OK;
  {
    alignas(NoMemory) char place[sizeof(NoMemory)];
    NoMemory* const limit = rank == 1 ? new (place) NoMemory : nullptr;
    status = tw_gemm_all_reduce(&args, comm, stream);
    if (status == TW_OK && stream != nullptr) status = tw_stream_synchronize(stream);
    if (limit != nullptr) limit->~NoMemory();
  }
  if (status != TW_ERROR_OUT_OF_MEMORY) {
    std::fprintf(stderr, "rank %d: status %d: %s\n", rank, status, tw_last_error());
    return 1;
  }
  if (!says("rank 1: no memory: ")) return 2;
  return Clock::now() - begin < kPrompt ? 0 : 3;
}

TEST(FusedProcess, OneWithoutMemoryWhenTheWorkspaceGrows) {
  if (kSanitized) return;
  const ScopedEnv env("TW_FUSED", "always");
  run_processes(kRanks, [](int rank, tw_comm_t comm) {
    if (const int result = fails_everywhere(rank, comm, nullptr)) return result;
    // All ranks agreed on the failure: the comm goes on.
    const GemmOperands operands({}, rank, kRanks);
    const tw_gemm_args_t args = operands.args();
    if (tw_gemm_all_reduce(&args, comm, nullptr) != TW_OK) return 10;
    return operands.check().empty() ? 0 : 11;
  });
}

TEST(FusedProcess, OneWithoutMemoryInAQueue) {
  if (kSanitized) return;
  const ScopedEnv env("TW_FUSED", "always");
  run_processes(kRanks, [](int rank, tw_comm_t comm) {
    tw_stream_t stream;
    if (tw_stream_create(nullptr, &stream) != TW_OK) return 10;
    if (const int result = fails_everywhere(rank, comm, stream)) return result;
    return tw_stream_destroy(stream) == TW_OK ? 0 : 11;
  });
}

/// Where ranks say nothing to each other before the call, the comm ends.
TEST(FusedProcess, OneWithoutMemoryForTheParts) {
  if (kSanitized) return;
  const ScopedEnv env("TW_FUSED", "never");
  run_processes(kRanks, [](int rank, tw_comm_t comm) {
    if (const int result = fails_everywhere(rank, comm, nullptr)) return result;
    tw_status_t status = TW_OK;
    if (tw_comm_error(comm, &status, nullptr) != TW_OK) return 10;
    return status == TW_ERROR_OUT_OF_MEMORY ? 0 : 11;
  });
}

/// A comm whose rank 0 runs other kernels than the rest.
tw_comm_t comm_of_two_targets(int rank, tw_comm_t world) {
  tw_unique_id_t id{};
  if (rank == 0) {
    setenv("TW_DEVICE_TARGET", "cpu_portable", 1);
    tw_unique_id_create(&id);
  }
  tw_broadcast(&id, &id, sizeof id, TW_UINT8, 0, world, nullptr);
  tw_comm_t comm = nullptr;
  if (tw_comm_create(kRanks, rank, &id, nullptr, &comm) != TW_OK)
    std::fprintf(stderr, "rank %d: %s\n", rank, tw_last_error());
  tw_barrier(world, nullptr);  // a mismatch ends a comm also for those who are still joining it
  return comm;
}

TEST(FusedProcess, TargetsThatDiffer) {
  for (const char* how : {"always", "never"}) {
    const ScopedEnv fused("TW_FUSED", how);
    const ScopedEnv target("TW_DEVICE_TARGET", "");
    run_processes(kRanks, [](int rank, tw_comm_t world) {
#if !defined(__x86_64__)
      return 0;  // there is one target only
#endif
      const tw_comm_t comm = comm_of_two_targets(rank, world);
      if (comm == nullptr) return 1;
      const GemmOperands operands({}, rank, kRanks);
      const tw_gemm_args_t args = operands.args();
      if (tw_gemm_all_reduce(&args, comm, nullptr) != TW_ERROR_MISMATCH) return 2;
      if (!says("TW_BF16; target cpu_portable)") || !says("TW_BF16; target cpu_a")) return 3;
      return tw_comm_destroy(comm) == TW_OK ? 0 : 4;
    });
  }
}

}  // namespace
}  // namespace tw::test
