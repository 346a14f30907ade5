#include "tests/support/llama_model.h"

#include <cmath>
#include <random>

namespace tw::test {
namespace {

/// FNV-1a, so that a weight's values do not hang on which others a model has.
uint64_t hash_of(const std::string& name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

/// Sums of four uniform integers: close to normal, mean 0, deviation 1, and without the standard's
/// distributions, whose values each library chooses.
class Noise {
 public:
  explicit Noise(uint64_t seed) : random_(seed) {}
  double next() {
    const uint64_t word = random_();
    int64_t sum = -2 * 65535;
    for (int i = 0; i < 4; ++i) sum += static_cast<int64_t>(word >> (16 * i) & 0xffff);
    return static_cast<double>(sum) / 37837.0;  // 65536 / sqrt(3)
  }

 private:
  std::mt19937_64 random_;
};

constexpr double kEmbedding = 0.05;
constexpr double kLogits = 3;
constexpr double kSharp = 1.6;  // of q and k each, so that scores deviate by its square
constexpr double kBias = 0.3;
constexpr double kNormDeviation = 0.2;

class Maker {
 public:
  Maker(const LlamaConfig& config, uint64_t seed) : seed_(seed) { model_.config = config; }

  void fill(const std::string& name, size_t rows, size_t cols, double mean, double deviation) {
    LlamaWeight weight{rows, cols, std::vector<float>(rows * cols)};
    Noise noise(seed_ ^ hash_of(name));
    for (float& x : weight.values)
      x = static_cast<float>(round_to_bf16(mean + deviation * noise.next()));
    model_.weights[name] = std::move(weight);
  }

  void norm(const std::string& name, size_t size, double mean) {
    fill(name, 1, size, mean, kNormDeviation * mean);
  }

  /// Inputs of deviation 1 become outputs of deviation `gain`.
  void linear(const std::string& name, size_t rows, size_t cols, double gain, bool bias) {
    fill(name + ".weight", rows, cols, 0, gain / std::sqrt(static_cast<double>(cols)));
    if (bias) fill(name + ".bias", 1, rows, 0, kBias);
  }

  void layer(int l) {
    const LlamaConfig& c = model_.config;
    const size_t hidden = c.hidden, head = c.head_size, ffn = c.ffn;
    const size_t q = c.heads * head, kv = c.kv_heads * head;
    const auto name = [l](const char* of) { return layer_weight(l, of); };
    norm(name("input_layernorm.weight"), hidden, 1);
    linear(name("self_attn.q_proj"), q, hidden, c.qk_norm ? 1 : kSharp, c.qkv_bias);
    linear(name("self_attn.k_proj"), kv, hidden, c.qk_norm ? 1 : kSharp, c.qkv_bias);
    linear(name("self_attn.v_proj"), kv, hidden, 1, c.qkv_bias);
    linear(name("self_attn.o_proj"), hidden, q, 1, c.o_bias);
    if (c.qk_norm) {
      norm(name("self_attn.q_norm.weight"), head, kSharp);
      norm(name("self_attn.k_norm.weight"), head, kSharp);
    }
    norm(name("post_attention_layernorm.weight"), hidden, 1);
    linear(name("mlp.gate_proj"), ffn, hidden, 1, c.mlp_bias);
    linear(name("mlp.up_proj"), ffn, hidden, 1, c.mlp_bias);
    linear(name("mlp.down_proj"), hidden, ffn, 1, c.mlp_bias);
  }

  ReferenceModel finish() {
    const LlamaConfig& c = model_.config;
    fill("model.embed_tokens.weight", c.vocab, c.hidden, 0, kEmbedding);
    for (int l = 0; l < c.layers; ++l) layer(l);
    if (!c.tied) linear("lm_head", c.vocab, c.hidden, kLogits, false);
    // Small embeddings make small logits, unless the last norm is large.
    norm("model.norm.weight", c.hidden,
         c.tied ? kLogits / (kEmbedding * std::sqrt(static_cast<double>(c.hidden))) : 1);
    return std::move(model_);
  }

 private:
  ReferenceModel model_;
  uint64_t seed_;
};

}  // namespace

std::string layer_weight(int layer, const std::string& name) {
  return "model.layers." + std::to_string(layer) + "." + name;
}

ReferenceModel random_model(const LlamaConfig& config, uint64_t seed) {
  return Maker(config, seed).finish();
}

std::vector<int> random_tokens(const LlamaConfig& config, int count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<int> tokens(count);
  for (int& token : tokens) token = static_cast<int>(random() % config.vocab);
  return tokens;
}

double round_to_bf16(double x) {
  if (x == 0 || !std::isfinite(x)) return x;
  int exponent = 0;
  const double mantissa = std::frexp(x, &exponent);  // 0.5 <= |mantissa| < 1
  return std::ldexp(std::nearbyint(std::ldexp(mantissa, 8)), exponent - 8);
}

}  // namespace tw::test
