#include "lib/model/names.h"

namespace tw {
namespace {

struct Pair {
  std::string_view gguf;
  std::string_view ours;
};

constexpr Pair kTop[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
};
constexpr Pair kLayer[] = {
    {"attn_norm", "input_layernorm"},    {"ffn_norm", "post_attention_layernorm"},
    {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},      {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"}, {"attn_k_norm", "self_attn.k_norm"},
    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};

template <size_t count>
std::string_view find(const Pair (&pairs)[count], std::string_view gguf) {
  for (const Pair& pair : pairs)
    if (pair.gguf == gguf) return pair.ours;
  return "";
}

void add_layer(const ModelDesc& desc, int64_t layer, std::vector<ExpectedWeight>* weights) {
  const std::string prefix = "model.layers." + std::to_string(layer) + ".";
  const auto hidden = static_cast<uint64_t>(desc.hidden);
  const auto ffn = static_cast<uint64_t>(desc.ffn);
  const auto head = static_cast<uint64_t>(desc.head_size);
  const uint64_t q = head * static_cast<uint64_t>(desc.heads);
  const uint64_t kv = head * static_cast<uint64_t>(desc.kv_heads);
  const auto vector = [&](const char* name, uint64_t size) {
    weights->push_back({prefix + name, 1, size});
  };
  const auto linear = [&](const std::string& name, uint64_t rows, uint64_t cols, bool bias) {
    weights->push_back({prefix + name + ".weight", rows, cols});
    if (bias) weights->push_back({prefix + name + ".bias", 1, rows});
  };
  vector("input_layernorm.weight", hidden);
  linear("self_attn.q_proj", q, hidden, desc.q_bias);
  linear("self_attn.k_proj", kv, hidden, desc.k_bias);
  linear("self_attn.v_proj", kv, hidden, desc.v_bias);
  if (desc.qk_norm) vector("self_attn.q_norm.weight", head);
  if (desc.qk_norm) vector("self_attn.k_norm.weight", head);
  linear("self_attn.o_proj", hidden, q, desc.o_bias);
  vector("post_attention_layernorm.weight", hidden);
  linear("mlp.gate_proj", ffn, hidden, desc.mlp_bias);
  linear("mlp.up_proj", ffn, hidden, desc.mlp_bias);
  linear("mlp.down_proj", hidden, ffn, desc.mlp_bias);
}

}  // namespace

std::vector<ExpectedWeight> expected_weights(const ModelDesc& desc) {
  const auto hidden = static_cast<uint64_t>(desc.hidden);
  const auto vocab = static_cast<uint64_t>(desc.vocab);
  std::vector<ExpectedWeight> weights{{"model.embed_tokens.weight", vocab, hidden}};
  for (int64_t layer = 0; layer < desc.layers; ++layer) add_layer(desc, layer, &weights);
  weights.push_back({"model.norm.weight", 1, hidden});
  if (!desc.tied_embeddings) weights.push_back({"lm_head.weight", vocab, hidden});
  return weights;
}

std::string name_of_gguf(std::string_view name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return "";
  const std::string_view end = name.substr(dot);
  if (end != ".weight" && end != ".bias") return "";
  std::string_view stem = name.substr(0, dot);
  if (!stem.starts_with("blk.")) {
    const std::string_view ours = find(kTop, stem);
    return ours.empty() ? "" : std::string(ours) + std::string(end);
  }
  stem.remove_prefix(4);
  const size_t digits = stem.find_first_not_of("0123456789");
  if (digits == 0 || digits == std::string_view::npos || stem[digits] != '.') return "";
  const std::string_view ours = find(kLayer, stem.substr(digits + 1));
  if (ours.empty()) return "";
  return "model.layers." + std::string(stem.substr(0, digits)) + "." + std::string(ours) +
         std::string(end);
}

}  // namespace tw
