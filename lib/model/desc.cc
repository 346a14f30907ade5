#include "lib/model/desc.h"

#include <cmath>
#include <numbers>

#include "lib/base/error.h"

namespace tw {
namespace {

// What the checks below allow at most: products of any two stay far below 2^63.
constexpr int64_t kMaxLayers = 1 << 12;
constexpr int64_t kMaxHeads = 1 << 12;
constexpr int64_t kMaxHeadSize = 1 << 12;
constexpr int64_t kMaxWidth = 1 << 24;

void check(const std::string& path, const char* what, int64_t value, int64_t most) {
  if (value < 1 || value > most)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s is %lld; valid: 1 to %lld", path.c_str(), what,
         static_cast<long long>(value), static_cast<long long>(most));
}

void check_positive(const std::string& path, const char* what, float value) {
  if (!(value > 0) || !std::isfinite(value))
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s is %g; expected a positive number", path.c_str(), what,
         static_cast<double>(value));
}

}  // namespace

const char* family_name(Family family) {
  switch (family) {
    case Family::kLlama:
      return "llama";
    case Family::kQwen2:
      return "qwen2";
    case Family::kQwen3:
      return "qwen3";
    case Family::kMistral:
      return "mistral";
  }
  return "?";
}

// The names of a number in a config.json and in a GGUF, where the family's name stands before it.
void check_desc(const ModelDesc& desc, const std::string& path) {
  check(path, "the number of layers (num_hidden_layers, block_count)", desc.layers, kMaxLayers);
  check(path, "the hidden size (hidden_size, embedding_length)", desc.hidden, kMaxWidth);
  check(path, "the number of heads (num_attention_heads, attention.head_count)", desc.heads,
        kMaxHeads);
  check(path, "the number of key/value heads (num_key_value_heads, attention.head_count_kv)",
        desc.kv_heads, desc.heads);
  check(path, "the head size (head_dim, attention.key_length, or hidden size / heads)",
        desc.head_size, kMaxHeadSize);
  check(path, "the feed-forward size (intermediate_size, feed_forward_length)", desc.ffn,
        kMaxWidth);
  check(path, "the vocabulary's size (vocab_size, tokenizer.ggml.tokens)", desc.vocab, kMaxWidth);
  check(path, "the context's length (max_position_embeddings, context_length)", desc.context,
        int64_t{1} << 31);
  if (desc.heads % desc.kv_heads != 0)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: %lld heads (num_attention_heads, attention.head_count) are no multiple of %lld "
         "key/value heads (num_key_value_heads, attention.head_count_kv)",
         path.c_str(), static_cast<long long>(desc.heads), static_cast<long long>(desc.kv_heads));
  if (desc.head_size % 2 != 0)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: the head size (head_dim, attention.key_length) is %lld; valid: even", path.c_str(),
         static_cast<long long>(desc.head_size));
  if (desc.sliding_window < 0)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: the sliding window is %lld; valid: 0 and more",
         path.c_str(), static_cast<long long>(desc.sliding_window));
  check_positive(path, "the norm's epsilon (rms_norm_eps, attention.layer_norm_rms_epsilon)",
                 desc.rms_epsilon);
  check_positive(path, "RoPE's base (rope_theta, rope.freq_base)", desc.rope_theta);
  const auto pairs = static_cast<size_t>(desc.head_size / 2);
  if (!desc.rope_divisors.empty() && desc.rope_divisors.size() != pairs)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %zu RoPE factors for %zu pairs of a head", path.c_str(),
         desc.rope_divisors.size(), pairs);
  for (const float divisor : desc.rope_divisors) check_positive(path, "a RoPE factor", divisor);
}

void set_rope_divisors(ModelDesc* desc) {
  desc->rope_divisors.clear();
  if (desc->rope_scaling == RopeScaling::kNone) return;
  // check_desc refuses what is beyond these.
  if (desc->head_size < 2 || desc->head_size > kMaxHeadSize) return;
  const int64_t pairs = desc->head_size / 2;
  if (desc->rope_scaling == RopeScaling::kLinear) {
    desc->rope_divisors.assign(static_cast<size_t>(pairs), desc->rope_factor);
    return;
  }
  // Llama 3.1's rule: pairs that turn often in the original context stay, those that turn rarely
  // are stretched by the factor, those between are blended. In fp32, in the order that llama.cpp's
  // converter uses, so that both files of a model give the same.
  const auto original = static_cast<float>(desc->rope_original_context);
  const float low = desc->rope_low_freq_factor;
  const float high = desc->rope_high_freq_factor;
  const float factor = desc->rope_factor;
  for (int64_t i = 0; i < pairs; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(desc->head_size);
    const float frequency = 1.0F / std::pow(desc->rope_theta, exponent);
    const float wave = 2 * std::numbers::pi_v<float> / frequency;
    const float smooth = (original / wave - low) / (high - low);
    float divisor = 1 / ((1 - smooth) / factor + smooth);
    if (wave < original / high) divisor = 1;
    if (wave > original / low) divisor = factor;
    desc->rope_divisors.push_back(divisor);
  }
}

}  // namespace tw
