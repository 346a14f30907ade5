// The benchmark's calls on tilewire.
#include <stdexcept>

#include "perf/gemm/engine.h"
#include "tilewire.h"

namespace tw::perf {

namespace {

void must(tw_status_t status) {
  if (status != TW_OK)
    throw std::runtime_error(std::string(tw_status_name(status)) + ": " + tw_last_error());
}

class TilewireEngine final : public Engine {
 public:
  explicit TilewireEngine(Backend& backend) : comm_(backend.comm()) {}

  bool prepare(const Product& product) override {
    const bool same = product.n == weights_.n && product.k == weights_.k;
    weights_.n = product.n;
    weights_.k = product.k;
    return same;
  }

  size_t packed_bytes() const override {
    size_t bytes = 0;
    must(tw_packed_bytes(&weights_, comm_, &bytes));
    return bytes;
  }

  void pack(const void* plain, void* packed) override {
    tw_gemm_args_t args = weights_;
    args.b = plain;
    must(tw_pack_weights(&args, packed, packed_bytes(), comm_, nullptr));
  }

  // A call by its parts needs no workspace.
  bool fuses(tw_fused_op_t op, const GemmCall& c) override {
    const tw_gemm_args_t args = args_of(op, c);
    size_t bytes = 0;
    must(tw_fused_workspace(op, &args, comm_, &bytes));
    return bytes > 0;
  }

  void gemm(const GemmCall& c) override { run(tw_gemm, product_of(c)); }
  void all_gather_gemm(const GemmCall& c) override {
    run(tw_all_gather_gemm, args_of(TW_ALL_GATHER_GEMM, c));
  }
  void gemm_reduce_scatter(const GemmCall& c) override {
    run(tw_gemm_reduce_scatter, args_of(TW_GEMM_REDUCE_SCATTER, c));
  }
  void gemm_all_reduce(const GemmCall& c) override {
    run(tw_gemm_all_reduce, args_of(TW_GEMM_ALL_REDUCE, c));
  }
  void gemm_all_to_all(const GemmCall& c) override {
    run(tw_gemm_all_to_all, args_of(TW_GEMM_ALL_TO_ALL, c));
  }
  void all_reduce_residual_rms_norm(const GemmCall& c) override {
    run(tw_all_reduce_residual_rms_norm, args_of(TW_ALL_REDUCE_RESIDUAL_RMS_NORM, c));
  }

 private:
  using Function = tw_status_t (*)(const tw_gemm_args_t*, tw_comm_t, tw_stream_t);
  void run(Function function, const tw_gemm_args_t& args) { must(function(&args, comm_, nullptr)); }

  static tw_gemm_args_t product_of(const GemmCall& c) {
    tw_gemm_args_t args = TW_GEMM_ARGS_INIT;
    args.m = c.m;
    args.n = c.n;
    args.k = c.k;
    args.a = c.a;
    args.b_packed = c.weights;
    args.c = c.c;
    return args;
  }

  static tw_gemm_args_t args_of(tw_fused_op_t op, const GemmCall& c) {
    tw_gemm_args_t args = product_of(c);
    if (op == TW_ALL_REDUCE_RESIDUAL_RMS_NORM) {
      args.k = 0;
      args.residual = c.residual;
      args.hidden = c.hidden;
      args.norm_weight = c.norm_weight;
    } else if (op != TW_GEMM_ALL_REDUCE) {
      args.rows = c.rows;
    }
    return args;
  }

  tw_comm_t comm_;
  tw_gemm_args_t weights_ = TW_GEMM_ARGS_INIT;  // n and k of the product
};

}  // namespace

std::string engine_name() { return backend_name(); }

std::unique_ptr<Engine> make_engine(Backend& backend) {
  return std::make_unique<TilewireEngine>(backend);
}

}  // namespace tw::perf
