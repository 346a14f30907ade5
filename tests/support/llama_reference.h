// Llama-architecture models in float64 by plain loops, one token at a time: what the library's
// models are compared with. llama_reference_test shows that it agrees with llama.cpp.
#pragma once

#include <cstddef>
#include <vector>

#include "tests/support/llama_model.h"

namespace tw::test {

/// Where an implementation that computes in fp32 and stores bf16 rounds. With all of them the
/// reference makes much the same errors, and what is left is the order of summation, and a sum
/// that falls on the other side of a rounding boundary.
struct Rounding {
  bool norms = false;   // outputs of a layer's two RMSNorms and of the last one
  bool qkv = false;     // q, k, v with bias, and q, k again after their norm; before RoPE
  bool cached = false;  // q, k after RoPE, and v: what attention reads and the KV cache holds
  bool probabilities = false;  // exp(score - largest) as it multiplies v; not their sum
  bool attention = false;      // the heads' outputs
  bool projections = false;    // outputs of o_proj and down_proj, before the residual is added
  bool residual = false;       // the sums with the residual
  bool gate_up = false;        // gate and up, before SwiGLU
  bool swiglu = false;         // silu(gate) * up
  bool logits = false;

  /// What fused kernels store: not qkv, projections, gate_up and logits, which stay in accumulators
  /// or leave in fp32.
  static Rounding fused();
  static Rounding all();
};

/// Radians per position of the head_size / 2 rotated pairs, scaling applied.
std::vector<double> rope_frequencies(const LlamaConfig& config);

/// One sequence with its KV cache. A copy is another sequence with the same prefix. Values do not
/// depend, in any bit, on how tokens are cut into calls. The model must outlive it.
class ReferenceSequence {
 public:
  using Values = std::vector<double>;

  explicit ReferenceSequence(const ReferenceModel& model, const Rounding& rounding = {});

  /// Appends tokens, which see those appended before them; logits of each, tokens x vocab.
  /// Positions go on from the last one, or are given and ascend.
  Values append(const std::vector<int>& tokens);
  Values append(const std::vector<int>& tokens, const std::vector<int>& positions);

  /// Parts, for a stage of a pipeline or a single layer: rows x hidden in and out. run() appends
  /// the rows to the caches of layers first <= l < last only.
  Values embed(const std::vector<int>& tokens) const;
  Values run(Values rows, const std::vector<int>& positions, int first, int last);
  Values head(const Values& rows) const;

  /// The position append() takes next.
  int next_position() const { return next_position_; }
  /// tokens x kv_heads x head_size each, k after RoPE.
  const Values& keys(int layer) const { return caches_[layer].keys; }
  const Values& values(int layer) const { return caches_[layer].values; }

 private:
  struct Cache {
    Values keys, values;
    std::vector<int> positions;
  };

  const float* weight(const std::string& name) const;
  Values norm(const double* x, const float* weight, int size) const;
  Values linear(const Values& x, const std::string& name, bool bias) const;
  void place(Values& heads, const std::string& norm_name, int position) const;
  Values attend(const Values& q, const Cache& cache) const;
  Values attention(const Values& x, int layer, int position);
  Values mlp(const Values& x, int layer) const;
  void run_row(double* row, int layer, int position);

  const ReferenceModel* model_;
  Rounding rounding_;
  std::vector<double> frequencies_;
  std::vector<Cache> caches_;
  int next_position_ = 0;
};

/// The logits of all positions of one sequence, tokens x vocab.
std::vector<double> logits(const ReferenceModel& model, const std::vector<int>& tokens,
                           const Rounding& rounding = {});

}  // namespace tw::test
