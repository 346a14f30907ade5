#include "tests/runner/gemm_runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "tests/runner/ranks.h"
#include "tests/support/gemm_kernels.h"

namespace tw::test {
namespace {

constexpr size_t kAlign = 64;

char* aligned(std::vector<char>& memory) {
  return memory.data() + (kAlign - reinterpret_cast<uintptr_t>(memory.data()) % kAlign);
}

/// The stride as the C API takes it.
size_t stride_of(const GemmCase& c, const Placed& matrix) {
  return c.strided ? matrix.stride() : 0;
}

}  // namespace

GemmCaller::GemmCaller(const GemmCase& c, int rank, int ranks, char* window, GpuArena* gpu)
    : GemmMemory(c, rank, ranks, in_window(c.placing, rank) ? window : nullptr, 0, gpu) {}

tw_status_t GemmCaller::prepare(const GemmWork& work, tw_comm_t comm) {
  write(work);
  if (!c_.b_packed) return TW_OK;
  tw_gemm_args_t args = this->args();
  args.b = b_.data();
  args.b_stride = stride_of(c_, b_);
  args.b_packed = nullptr;
  size_t bytes = 0;
  tw_status_t status = tw_packed_bytes(&args, comm, &bytes);
  if (status != TW_OK) return status;
  packed_memory_.assign(bytes + kAlign, static_cast<char>(kTilePoison));
  packed_ = aligned(packed_memory_);
  if (gpu_ != nullptr) {
    char* const there = gpu_->allocate(bytes);
    gpu_->gpu().write(there, packed_, bytes);
    packed_ = there;
  }
  status = tw_pack_weights(&args, packed_, bytes, comm, nullptr);
  if (status != TW_OK) return status;
  const PackedFor device = gpu_ != nullptr ? PackedFor::kGpu : PackedFor::kCpu;
  const std::vector<char> want = packed_weights(device, part(work).b, c_.type);
  std::vector<char> got(bytes);
  if (gpu_ != nullptr) {
    gpu_->gpu().synchronize();
    gpu_->gpu().read(got.data(), packed_, bytes);
  } else {
    std::memcpy(got.data(), packed_, bytes);
  }
  EXPECT_TRUE(got == want) << c_.name(ranks_) << ": packed weights are not as packed.h tells";
  return TW_OK;
}

tw_gemm_args_t GemmCaller::args() const {
  tw_gemm_args_t args = TW_GEMM_ARGS_INIT;
  args.m = c_.m;
  args.n = c_.n;
  args.out_type = c_.out;
  args.a = a_.data();
  args.a_stride = stride_of(c_, a_);
  args.c = c_out_.data();
  args.c_stride = stride_of(c_, c_out_);
  args.residual = residual_.data();
  args.residual_stride = c_.residual ? stride_of(c_, residual_) : 0;
  args.hidden = hidden_.data();
  args.hidden_stride = c_.hidden ? stride_of(c_, hidden_) : 0;
  args.norm_weight = weight_.data();
  args.norm_eps = kNormEps;
  if (c_.shards != Shards::kEqual) {
    const bool rows = c_.op == GemmOp::kAllGatherGemm || c_.op == GemmOp::kGemmReduceScatter;
    if (rows || c_.op == GemmOp::kGemmAllToAll) args.rows = rows_.data();
    if (c_.op == GemmOp::kGemmAllToAll) args.cols = cols_.data();
  }
  if (takes_addend(c_.op)) return args;
  args.k = c_.k;
  args.type = c_.type;
  args.a_transposed = c_.a_transposed ? 1 : 0;
  if (c_.b_packed) {
    args.b_packed = packed_;
  } else {
    args.b = b_.data();
    args.b_stride = stride_of(c_, b_);
    args.b_transposed = c_.b_transposed ? 1 : 0;
  }
  args.bias = bias_.data();
  args.activation = static_cast<tw_activation_t>(c_.activation);
  if (sums_ranks(c_.op)) args.partial_type = c_.partial;
  args.gathered = gathered_.data();
  args.gathered_stride = c_.gathered ? stride_of(c_, gathered_) : 0;
  return args;
}

tw_status_t GemmCaller::call(tw_comm_t comm, tw_stream_t stream) const {
  return call_op(c_.op, args(), comm, stream);
}

tw_status_t call_op(GemmOp op, const tw_gemm_args_t& args, tw_comm_t comm, tw_stream_t stream) {
  switch (op) {
    case GemmOp::kAllGatherGemm:
      return tw_all_gather_gemm(&args, comm, stream);
    case GemmOp::kGemmReduceScatter:
      return tw_gemm_reduce_scatter(&args, comm, stream);
    case GemmOp::kGemmAllReduce:
      return tw_gemm_all_reduce(&args, comm, stream);
    case GemmOp::kGemmAllToAll:
      return tw_gemm_all_to_all(&args, comm, stream);
    case GemmOp::kAllReduceNorm:
      return tw_all_reduce_residual_rms_norm(&args, comm, stream);
    default:
      return tw_gemm(&args, comm, stream);
  }
}

ResultWindow::ResultWindow(tw_comm_t comm, const std::vector<GemmCase>& cases) {
  size_t bytes = 1;
  for (const GemmCase& c : cases) bytes = std::max(bytes, window_bytes_of(c));
  int rank = 0;
  void* memory = nullptr;
  EXPECT_EQ(tw_comm_rank(comm, &rank), TW_OK);
  EXPECT_EQ(tw_window_create(comm, bytes, &window_), TW_OK) << tw_last_error();
  EXPECT_EQ(tw_window_ptr(window_, rank, &memory), TW_OK) << tw_last_error();
  memory_ = static_cast<char*>(memory);
}

ResultWindow::~ResultWindow() { EXPECT_EQ(tw_window_destroy(window_), TW_OK) << tw_last_error(); }

std::vector<GemmWork> work_out(const std::vector<GemmCase>& cases, int ranks) {
  std::vector<GemmWork> works;
  uint64_t seed = 1;
  for (const GemmCase& c : cases)
    for (int launch = 0; launch < kGemmLaunches; ++launch)
      works.emplace_back(c, is_local(c.op) ? 1 : ranks, ++seed);
  return works;
}

bool run_gemm_cases(const std::vector<GemmCase>& cases, const std::vector<GemmWork>& works,
                    tw_comm_t comm, const std::string& what) {
  int rank = 0, ranks = 0;
  EXPECT_EQ(tw_comm_rank(comm, &rank), TW_OK);
  EXPECT_EQ(tw_comm_size(comm, &ranks), TW_OK);
  tw_device_t device = TW_DEVICE_INIT;
  EXPECT_EQ(tw_comm_device(comm, &device), TW_OK);
  std::optional<GpuArena> gpu;
  if (device.kind == TW_DEVICE_GPU) gpu.emplace(device.ordinal);
  const ResultWindow window(comm, cases);
  for (size_t i = 0; i < cases.size(); ++i) {
    const bool local = is_local(cases[i].op);
    if (gpu) gpu->clear();
    GemmCaller own(cases[i], local ? 0 : rank, local ? 1 : ranks, window.memory(),
                   gpu ? &*gpu : nullptr);
    for (size_t launch = 0; launch < kGemmLaunches; ++launch) {
      const GemmWork& work = works[i * kGemmLaunches + launch];
      const std::string name =
          cases[i].name(ranks) + ", " + what + ", launch " + std::to_string(launch);
      tw_status_t status = own.prepare(work, comm);
      if (status == TW_OK) status = own.call(comm);
      EXPECT_EQ(status, TW_OK) << name << ": " << tw_last_error();
      if (status == TW_OK && own.check(work, name)) continue;
      tw_comm_abort(comm);  // the peers must not wait for this rank's next case
      return false;
    }
  }
  return true;
}

void run_gemm_op(GemmOp op, const std::vector<GemmCase>& cases, int ranks) {
  run_gemm_ways(op, cases, ranks,
                {{"always", "via_owner", "1"},
                 {"always", "one_shot", "3"},
                 {"never", "", "1"},
                 {"", "", "2"}});
}

void run_gemm_ways(GemmOp op, const std::vector<GemmCase>& cases, int ranks,
                   const std::vector<GemmWay>& ways) {
  const std::vector<GemmWork> works = work_out(cases, ranks);
  for (const GemmWay& way : ways) {
    const bool has_paths = op == GemmOp::kGemmAllReduce || op == GemmOp::kAllReduceNorm;
    if (std::string(way.path) == "one_shot" && !has_paths && ranks == 1) continue;
    const ScopedEnv fused("TW_FUSED", way.fused), path("TW_FUSED_PATH", way.path),
        workers("TW_COMM_WORKERS", way.blocks), blocks("TW_COMM_MAX_BLOCKS", way.blocks);
    const ThreadRanks all(ranks);
    all.run([&](int, tw_comm_t comm) {
      run_gemm_cases(cases, works, comm,
                     std::string("TW_FUSED=") + way.fused + " TW_FUSED_PATH=" + way.path + " " +
                         way.blocks + " workers");
    });
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace tw::test
