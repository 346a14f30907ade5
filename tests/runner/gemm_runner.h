// Cases of the GEMM table by the C API's calls: one rank's memory, and the call over it.
#pragma once

#include <string>
#include <vector>

#include "tests/support/gemm_memory.h"
#include "tilewire.h"

namespace tw::test {

/// One rank of a case. Collective: construct, run and destroy on all ranks.
class GemmCaller : public GemmMemory {
 public:
  /// `window`: memory of the rank's window for results, where the case wants it. `gpu`: of the
  /// rank, null on CPUs.
  GemmCaller(const GemmCase& c, int rank, int ranks, char* window, GpuArena* gpu = nullptr);

  /// Writes inputs, poisons outputs, packs weights where the case says so.
  tw_status_t prepare(const GemmWork& work, tw_comm_t comm);
  tw_status_t call(tw_comm_t comm, tw_stream_t stream = nullptr) const;

  /// The arguments of the call; for tests that make them differ.
  tw_gemm_args_t args() const;

 private:
  std::vector<char> packed_memory_;
  char* packed_ = nullptr;
};

/// The entry point of an op of the C API.
tw_status_t call_op(GemmOp op, const tw_gemm_args_t& args, tw_comm_t comm, tw_stream_t stream);

/// A window for the results of cases.
class ResultWindow {
 public:
  ResultWindow(tw_comm_t comm, const std::vector<GemmCase>& cases);
  ~ResultWindow();
  ResultWindow(const ResultWindow&) = delete;
  ResultWindow& operator=(const ResultWindow&) = delete;
  char* memory() const { return memory_; }

 private:
  tw_window_t window_ = nullptr;
  char* memory_ = nullptr;
};

inline constexpr int kGemmLaunches = 3;

/// The cases worked out for `ranks` ranks, kGemmLaunches times each with other data.
std::vector<GemmWork> work_out(const std::vector<GemmCase>& cases, int ranks);

/// Runs cases on one rank of `comm`, each kGemmLaunches times; false after a failure, when the
/// peers must be told to stop.
bool run_gemm_cases(const std::vector<GemmCase>& cases, const std::vector<GemmWork>& works,
                    tw_comm_t comm, const std::string& what);

/// How an op is carried out: TW_FUSED, TW_FUSED_PATH, and the most blocks of a launch.
struct GemmWay {
  const char *fused, *path, *blocks;
};
/// Runs the op's cases on a new comm of `ranks` threads, each way.
void run_gemm_ways(GemmOp op, const std::vector<GemmCase>& cases, int ranks,
                   const std::vector<GemmWay>& ways);

/// The same: fused by both paths, by parts, as the table says.
void run_gemm_op(GemmOp op, const std::vector<GemmCase>& cases, int ranks);

}  // namespace tw::test
