// The seam between a GEMM benchmark and what carries it out. Implementations: tilewire_engine.cc
// (the product) and ../peers/dnnl_engine.cc (oneDNN's product with an MPI's collective around it,
// compiled once for each pair of them). Everything is bf16. A failed call throws.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "perf/runner/backend.h"

namespace tw::perf {

// What one rank multiplies: A (m x k) by its weights (k x n). A peer packs the weights in `parts`
// equal parts by columns where each part of the product goes to another rank.
struct Product {
  size_t m = 0, n = 0, k = 0;
  size_t parts = 1;
  friend bool operator==(const Product&, const Product&) = default;
};

// One call, in the words of tw_gemm_args_t. Every matrix is dense, by rows.
struct GemmCall {
  size_t m = 0, n = 0, k = 0;
  const size_t* rows = nullptr;  // of each rank, where rows are sharded
  const void* a = nullptr;
  const void* weights = nullptr;  // as pack left them
  void* c = nullptr;
  const void* residual = nullptr;
  void* hidden = nullptr;
  const void* norm_weight = nullptr;
};

// One rank. Used by one thread.
class Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine() = default;

  // Gets ready for `product`. Whether weights that were packed for the last one serve this one too.
  virtual bool prepare(const Product& product) = 0;
  // Bytes of the packed weights; packs them from k rows of n.
  virtual size_t packed_bytes() const = 0;
  virtual void pack(const void* weights, void* packed) = 0;

  // Whether the call would be carried out in one kernel; a peer has none.
  virtual bool fuses(tw_fused_op_t, const GemmCall&) { return false; }

  virtual void gemm(const GemmCall& call) = 0;
  virtual void all_gather_gemm(const GemmCall& call) = 0;
  virtual void gemm_reduce_scatter(const GemmCall& call) = 0;
  virtual void gemm_all_reduce(const GemmCall& call) = 0;
  virtual void gemm_all_to_all(const GemmCall& call) = 0;
  virtual void all_reduce_residual_rms_norm(const GemmCall& call) = 0;
};

std::string engine_name();  // "tilewire 0.1.0", "oneDNN 3.2.0"
std::unique_ptr<Engine> make_engine(Backend& backend);

}  // namespace tw::perf
