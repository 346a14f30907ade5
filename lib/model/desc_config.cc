// A model's description from a Hugging Face config.json.
#include <string>

#include "lib/base/error.h"
#include "lib/model/desc.h"
#include "lib/model/json.h"

namespace tw {
namespace {

Family family_of(const JsonObject& config) {
  const Json* const list = config.find("architectures");
  if (list == nullptr) config.missing("architectures");
  if (list->is_array() && list->size() == 1 && (*list)[0].is_string()) {
    const auto& name = (*list)[0].get_ref<const std::string&>();
    if (name == "LlamaForCausalLM") return Family::kLlama;
    if (name == "Qwen2ForCausalLM") return Family::kQwen2;
    if (name == "Qwen3ForCausalLM") return Family::kQwen3;
    if (name == "MistralForCausalLM") return Family::kMistral;
  }
  config.refuse("architectures",
                "supported: LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, "
                "MistralForCausalLM",
                TW_ERROR_UNSUPPORTED);
}

int64_t need_integer(const JsonObject& object, const char* key) {
  const auto value = object.integer(key);
  if (!value) object.missing(key);
  return *value;
}

float need_number(const JsonObject& object, const char* key) {
  const auto value = object.number(key);
  if (!value) object.missing(key);
  return static_cast<float>(*value);
}

/// `scaling`: the object of key "rope_scaling" or "rope_parameters".
void read_scaling(const JsonObject& scaling, ModelDesc* desc) {
  const char* key = scaling.find("rope_type") != nullptr ? "rope_type" : "type";
  const std::string type = scaling.text(key).value_or("default");
  if (const auto theta = scaling.number("rope_theta"))
    desc->rope_theta = static_cast<float>(*theta);
  if (type == "default") return;
  if (type == "linear") {
    desc->rope_scaling = RopeScaling::kLinear;
    desc->rope_factor = need_number(scaling, "factor");
  } else if (type == "llama3") {
    desc->rope_scaling = RopeScaling::kLlama3;
    desc->rope_factor = need_number(scaling, "factor");
    desc->rope_low_freq_factor = need_number(scaling, "low_freq_factor");
    desc->rope_high_freq_factor = need_number(scaling, "high_freq_factor");
    desc->rope_original_context = need_integer(scaling, "original_max_position_embeddings");
    if (!(desc->rope_low_freq_factor < desc->rope_high_freq_factor))
      scaling.refuse("high_freq_factor", "expected more than low_freq_factor");
  } else {
    scaling.refuse(key, "supported: default, linear, llama3", TW_ERROR_UNSUPPORTED);
  }
}

void read_rope(const JsonObject& config, const std::string& path, ModelDesc* desc) {
  desc->rope_theta = static_cast<float>(config.number("rope_theta").value_or(10000));
  // transformers 5 calls it rope_parameters and keeps the base in it.
  for (const char* key : {"rope_scaling", "rope_parameters"})
    if (const Json* const object = config.find(key)) {
      if (!object->is_object()) config.refuse(key, "expected an object");
      read_scaling(JsonObject(*object, path, std::string(key) + "."), desc);
    }
  if (config.number("partial_rotary_factor").value_or(1) != 1)
    config.refuse("partial_rotary_factor", "supported: 1", TW_ERROR_UNSUPPORTED);
  set_rope_divisors(desc);
}

void read_window(const JsonObject& config, ModelDesc* desc) {
  const bool qwen = desc->family == Family::kQwen2 || desc->family == Family::kQwen3;
  if (desc->family == Family::kLlama ||
      (qwen && !config.flag("use_sliding_window").value_or(false)))
    return;
  desc->sliding_window = config.integer("sliding_window").value_or(0);
  // Of Qwen's layers only those from max_window_layers on have the window.
  if (qwen && desc->sliding_window != 0 && config.integer("max_window_layers").value_or(28) != 0)
    config.refuse("max_window_layers", "supported: 0, a window in all layers, or no window",
                  TW_ERROR_UNSUPPORTED);
}

void read_biases(const JsonObject& config, ModelDesc* desc) {
  const bool attention = config.flag("attention_bias").value_or(false);
  const bool qwen2 = desc->family == Family::kQwen2;
  const bool mistral = desc->family == Family::kMistral;
  desc->q_bias = desc->k_bias = desc->v_bias = qwen2 || (attention && !mistral);
  desc->o_bias = attention && !qwen2 && !mistral;
  desc->mlp_bias = desc->family == Family::kLlama && config.flag("mlp_bias").value_or(false);
  desc->qk_norm = desc->family == Family::kQwen3;
}

}  // namespace

ModelDesc desc_of_config(std::string_view text, const std::string& path) {
  const Json json = parse_json(text, kMaxConfigBytes, path);
  const JsonObject config(json, path);
  ModelDesc desc;
  desc.family = family_of(config);
  desc.layers = need_integer(config, "num_hidden_layers");
  desc.hidden = need_integer(config, "hidden_size");
  desc.heads = need_integer(config, "num_attention_heads");
  desc.kv_heads = config.integer("num_key_value_heads").value_or(desc.heads);
  const int64_t even = desc.heads > 0 ? desc.hidden / desc.heads : 0;
  // Qwen3's class has 128 where the file says nothing.
  desc.head_size = config.integer("head_dim").value_or(desc.family == Family::kQwen3 ? 128 : even);
  desc.ffn = need_integer(config, "intermediate_size");
  desc.vocab = need_integer(config, "vocab_size");
  desc.context = need_integer(config, "max_position_embeddings");
  desc.rms_epsilon = need_number(config, "rms_norm_eps");
  desc.tied_embeddings = config.flag("tie_word_embeddings").value_or(false);
  if (config.text("hidden_act").value_or("silu") != "silu")
    config.refuse("hidden_act", "supported: \"silu\"", TW_ERROR_UNSUPPORTED);
  if (config.find("quantization_config") != nullptr)
    config.refuse("quantization_config", "supported: none", TW_ERROR_UNSUPPORTED);
  read_rope(config, path, &desc);
  read_window(config, &desc);
  read_biases(config, &desc);
  check_desc(desc, path);
  return desc;
}

}  // namespace tw
