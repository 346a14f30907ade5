// One GEMM call as its caller made it, checked: every size, stride and pointer resolved, nothing of
// it in the caller's memory but the matrices themselves.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "lib/coll/call.h"
#include "tilewire.h"
#include "tilewire/kernels/gemm.h"
#include "tilewire/tile/packed.h"

namespace tw {

/// For whose kernels weights are packed.
constexpr PackedFor packed_for(const Place& place) {
  return place.on_gpu ? PackedFor::kGpu : PackedFor::kCpu;
}

/// The entry points that take tw_gemm_args_t.
enum class GemmOp : uint32_t {
  kAllGatherGemm,  // as tw_fused_op_t
  kGemmReduceScatter,
  kGemmAllReduce,
  kGemmAllToAll,
  kAllReduceResidualRmsNorm,
  kGemm,
};

constexpr bool is_fused(GemmOp op) { return op != GemmOp::kGemm; }
constexpr CollOp coll_of(GemmOp op) {
  return static_cast<CollOp>(kCollectives + static_cast<uint32_t>(op));
}
/// Ranks' products are added.
constexpr bool adds(GemmOp op) {
  return op == GemmOp::kGemmReduceScatter || op == GemmOp::kGemmAllReduce ||
         op == GemmOp::kAllReduceResidualRmsNorm;
}

using RankSizes = std::array<size_t, kMaxFusedRanks>;

/// `size` in `n` parts that differ by one at most, the larger ones first.
RankSizes nearly_equal(size_t size, int n);

struct GemmCall {
  GemmOp op;
  size_t m, n, k;      // of the whole: all ranks' rows; columns of C (SwiGLU: B has twice as many)
  tw_type_t type;      // of A and B
  tw_type_t out_type;  // of C and all that is added to it
  tw_type_t partial_type;
  RankSizes rows, cols;  // where the op cuts them by rank
  Operand a, b;          // kAllReduceResidualRmsNorm: `a` is the addend, of out_type
  Matrix c;
  size_t c_rows, c_cols;  // of C on this rank
  Epilogue epilogue;
  Matrix hidden;
  const void* norm_weight;
  float norm_eps;
  void* gathered;
  size_t gathered_stride;
  int max_blocks;  // 0 = the comm's

  bool paired() const { return epilogue.activation == Activation::kSwiGlu; }
  size_t out_element() const { return packed_element(out_type); }
};

/// Checks everything that can be wrong with `args` at `place`. Throws INVALID_ARGUMENT with field,
/// value and what is valid, UNSUPPORTED for a comm with too many ranks. Without `with_data`
/// matrices need not be there yet: what the call is, not where.
GemmCall check_gemm(GemmOp op, const tw_gemm_args_t& args, const Place& place,
                    bool with_data = true);

/// The weights of tw_packed_bytes and tw_pack_weights; `function` is who asks. Without `with_data`
/// only what their size depends on is looked at.
Operand check_weights(const tw_gemm_args_t& args, const char* function, bool with_data);

/// Throws INVALID_ARGUMENT unless `packed`, which is args.b_packed of `function`, is what
/// tw_pack_weights wrote of a k x n matrix of `type` for CPUs.
void check_packed(const char* function, const void* packed, size_t k, size_t n, tw_type_t type);

/// Whether all ranks must have a residual, and a transposed A, where this one has.
bool compared_residual(const GemmCall& call);
bool compared_transposed(const GemmCall& call);

/// Digest of what must be equal on all ranks. Own pointers and strides are not.
uint64_t gemm_digest(const GemmCall& call, const Place& place);

}  // namespace tw
