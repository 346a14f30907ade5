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

  void prepare(const Product& product) override {
    weights_ = TW_GEMM_ARGS_INIT;
    weights_.n = product.n;
    weights_.k = product.k;
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

  void gemm(const GemmCall& c) override { run(tw_gemm, args(c)); }
  void gemm_all_reduce(const GemmCall& c) override { run(tw_gemm_all_reduce, args(c)); }
  void all_gather_gemm(const GemmCall& c) override { run(tw_all_gather_gemm, sharded(c)); }
  void gemm_reduce_scatter(const GemmCall& c) override { run(tw_gemm_reduce_scatter, sharded(c)); }
  void gemm_all_to_all(const GemmCall& c) override { run(tw_gemm_all_to_all, sharded(c)); }

  void all_reduce_residual_rms_norm(const GemmCall& c) override {
    tw_gemm_args_t args = TW_GEMM_ARGS_INIT;
    args.m = c.m;
    args.n = c.n;
    args.a = c.a;
    args.c = c.c;
    args.residual = c.residual;
    args.hidden = c.hidden;
    args.norm_weight = c.norm_weight;
    run(tw_all_reduce_residual_rms_norm, args);
  }

 private:
  using Function = tw_status_t (*)(const tw_gemm_args_t*, tw_comm_t, tw_stream_t);
  void run(Function function, const tw_gemm_args_t& args) { must(function(&args, comm_, nullptr)); }

  static tw_gemm_args_t args(const GemmCall& c) {
    tw_gemm_args_t args = TW_GEMM_ARGS_INIT;
    args.m = c.m;
    args.n = c.n;
    args.k = c.k;
    args.a = c.a;
    args.b_packed = c.weights;
    args.c = c.c;
    return args;
  }
  static tw_gemm_args_t sharded(const GemmCall& c) {
    tw_gemm_args_t sharded = args(c);
    sharded.rows = c.rows;
    return sharded;
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
