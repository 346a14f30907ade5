// A model's description from GGUF metadata, with the keys that llama.cpp's converter writes.
#include <string>

#include "lib/base/error.h"
#include "lib/model/desc.h"
#include "lib/model/gguf.h"
#include "lib/model/name_text.h"

namespace tw {
namespace {

/// Keys that begin with the architecture's name.
class Keys {
 public:
  explicit Keys(const Gguf& gguf) : gguf_(gguf) {
    const auto name = gguf.text("general.architecture");
    if (!name) missing("general.architecture");
    architecture_ = *name;
  }

  const std::string& architecture() const { return architecture_; }
  std::string full(const char* key) const { return architecture_ + "." + key; }

  std::optional<int64_t> integer(const char* key) const { return gguf_.integer(full(key)); }
  std::optional<double> number(const char* key) const { return gguf_.number(full(key)); }
  std::optional<std::string_view> text(const char* key) const { return gguf_.text(full(key)); }

  int64_t need_integer(const char* key) const {
    const auto value = integer(key);
    if (!value) missing(full(key));
    return *value;
  }

  float need_number(const char* key) const {
    const auto value = number(key);
    if (!value) missing(full(key));
    return static_cast<float>(*value);
  }

  [[noreturn]] void missing(const std::string& key) const {
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: key %s is missing", gguf_.path().c_str(),
         name_text(key).c_str());
  }

  [[noreturn]] void unsupported(const std::string& key, const std::string& value,
                                const char* supported) const {
    fail(TW_ERROR_UNSUPPORTED, "%s: key %s is %s; supported: %s", gguf_.path().c_str(),
         name_text(key).c_str(), value.c_str(), supported);
  }

 private:
  const Gguf& gguf_;
  std::string architecture_;
};

Family family_of(const Keys& keys) {
  if (keys.architecture() == "llama") return Family::kLlama;
  if (keys.architecture() == "qwen2") return Family::kQwen2;
  if (keys.architecture() == "qwen3") return Family::kQwen3;
  keys.unsupported("general.architecture", name_text(keys.architecture()), "llama, qwen2, qwen3");
}

int64_t vocab_size(const Gguf& gguf, const Keys& keys) {
  if (const auto size = keys.integer("vocab_size")) return *size;
  const auto tokens = gguf.texts("tokenizer.ggml.tokens");
  if (tokens.empty()) keys.missing(keys.full("vocab_size"));
  return static_cast<int64_t>(tokens.size());
}

/// Keys that change the network in ways that this library does not know.
void check_supported(const Keys& keys, const ModelDesc& desc) {
  for (const char* key : {"expert_count", "leading_dense_block_count"})
    if (const int64_t count = keys.integer(key).value_or(0); count != 0)
      keys.unsupported(keys.full(key), std::to_string(count), "0");
  for (const char* key : {"rope.dimension_count", "attention.value_length"})
    if (const int64_t size = keys.integer(key).value_or(desc.head_size); size != desc.head_size)
      keys.unsupported(keys.full(key), std::to_string(size),
                       ("the head size, " + std::to_string(desc.head_size)).c_str());
  for (const char* key : {"attention.clamp_kqv", "attention.max_alibi_bias", "logit_scale",
                          "residual_scale", "embedding_scale", "attention.scale"})
    if (const double value = keys.number(key).value_or(0); value != 0)
      keys.unsupported(keys.full(key), text("%g", value), "none");
}

void read_scaling(const Keys& keys, const FindGgufTensor& find, const std::string& path,
                  ModelDesc* desc) {
  const std::string type(keys.text("rope.scaling.type").value_or("none"));
  auto factor = keys.number("rope.scaling.factor");
  // The key of files before August 2023.
  if (!factor) factor = keys.number("rope.scale_linear");
  const bool stretches = factor && *factor != 0 && *factor != 1;
  if (type == "linear" || (type == "none" && keys.number("rope.scale_linear") && stretches)) {
    if (stretches) desc->rope_scaling = RopeScaling::kLinear;
    desc->rope_factor = static_cast<float>(factor.value_or(1));
    set_rope_divisors(desc);
  } else if (type != "none" && type != "llama3") {
    keys.unsupported(keys.full("rope.scaling.type"), name_text(type),
                     "none, linear, and Llama 3's by its tensor \"rope_freqs.weight\"");
  }
  const GgufTensor* const freqs = find("rope_freqs.weight");
  if (freqs == nullptr) {
    if (type == "llama3")
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: tensor \"rope_freqs.weight\" is missing", path.c_str());
    return;
  }
  if (desc->rope_scaling != RopeScaling::kNone)
    fail(TW_ERROR_UNSUPPORTED,
         "%s: tensor \"rope_freqs.weight\" beside linear scaling; supported: one of them",
         path.c_str());
  const auto pairs = static_cast<uint64_t>(desc->head_size) / 2;
  if (freqs->type != QuantType::kF32 || freqs->row() != pairs || freqs->rows() != 1)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: tensor \"rope_freqs.weight\" is %s %s; expected F32 [%llu], a factor for each pair",
         path.c_str(), quant_format(freqs->type).name,
         shape_text(std::span(freqs->shape).first(static_cast<size_t>(freqs->dims))).c_str(),
         static_cast<unsigned long long>(pairs));
  desc->rope_scaling = RopeScaling::kLlama3;
  desc->rope_divisors.resize(pairs);
  expand(QuantType::kF32, freqs->data.data(), pairs, desc->rope_divisors.data());
}

}  // namespace

ModelDesc desc_of(const Gguf& gguf, const FindGgufTensor& find) {
  const Keys keys(gguf);
  ModelDesc desc;
  desc.family = family_of(keys);
  desc.layers = keys.need_integer("block_count");
  desc.hidden = keys.need_integer("embedding_length");
  desc.heads = keys.need_integer("attention.head_count");
  desc.kv_heads = keys.integer("attention.head_count_kv").value_or(desc.heads);
  desc.head_size =
      keys.integer("attention.key_length").value_or(desc.heads > 0 ? desc.hidden / desc.heads : 0);
  desc.ffn = keys.need_integer("feed_forward_length");
  desc.vocab = vocab_size(gguf, keys);
  desc.context = keys.need_integer("context_length");
  desc.rms_epsilon = keys.need_number("attention.layer_norm_rms_epsilon");
  desc.rope_theta = static_cast<float>(keys.number("rope.freq_base").value_or(10000));
  desc.sliding_window = keys.integer("attention.sliding_window").value_or(0);
  // Else a description that is out of range could be used below.
  check_desc(desc, gguf.path());
  check_supported(keys, desc);
  read_scaling(keys, find, gguf.path(), &desc);
  desc.tied_embeddings = find("output.weight") == nullptr;
  desc.q_bias = find("blk.0.attn_q.bias") != nullptr;
  desc.k_bias = find("blk.0.attn_k.bias") != nullptr;
  desc.v_bias = find("blk.0.attn_v.bias") != nullptr;
  desc.o_bias = find("blk.0.attn_output.bias") != nullptr;
  desc.mlp_bias = find("blk.0.ffn_up.bias") != nullptr;
  desc.qk_norm = desc.family == Family::kQwen3;
  check_desc(desc, gguf.path());
  return desc;
}

}  // namespace tw
