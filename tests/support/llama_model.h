// What a Llama-architecture model is to the tests: a configuration, and weights by the names that
// Hugging Face gives them. The library has its own of both; nothing is shared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace tw::test {

/// Names the file formats' architecture. What is evaluated is told by the other fields alone.
enum class LlamaFamily { kLlama, kQwen2, kQwen3, kMistral };

struct RopeScaling {
  enum Kind { kNone, kLinear, kLlama3 };
  Kind kind = kNone;
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;  // this and the next: kLlama3 only
  int original_context = 8192;
};

struct LlamaConfig {
  LlamaFamily family = LlamaFamily::kLlama;
  int layers = 2;
  int hidden = 64;
  int heads = 2, kv_heads = 1;  // query head h reads KV head h / (heads / kv_heads)
  int head_size = 64;           // need not be hidden / heads
  int ffn = 96;
  int vocab = 96;
  double rms_eps = 1e-5;
  double rope_theta = 10000;
  RopeScaling rope;
  int window = 0;  // a token sees itself and window - 1 tokens before it; 0: all before it
  bool tied = false;
  bool qkv_bias = false, o_bias = false, mlp_bias = false;
  bool qk_norm = false;  // RMSNorm of each head of q and k, before RoPE
};

/// Row-major; matrices are outputs x inputs, as Hugging Face has them, vectors 1 x n.
struct LlamaWeight {
  size_t rows = 1, cols = 0;
  std::vector<float> values;
};

struct ReferenceModel {
  LlamaConfig config;
  /// "model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight" ...; "lm_head.weight" is
  /// absent where the embeddings are tied.
  std::map<std::string, LlamaWeight> weights;
};

/// The name of layer's weight, e.g. of "mlp.up_proj.weight".
std::string layer_weight(int layer, const std::string& name);

/// Every value is representable in bf16, and the same bits on every machine. A weight depends on
/// the seed, its name and its shape only. Logits spread by about 3; attention is neither flat nor
/// one-hot; embeddings are as small as trained ones, so that rms_eps matters.
ReferenceModel random_model(const LlamaConfig& config, uint64_t seed);

/// `count` tokens of the vocabulary.
std::vector<int> random_tokens(const LlamaConfig& config, int count, uint64_t seed);

/// To the nearest value with 8 bits of mantissa, ties to even: bf16 in its normal range.
double round_to_bf16(double x);

}  // namespace tw::test
