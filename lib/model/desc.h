// What a model is: the shapes and constants of a Llama-like network.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace tw {

class Gguf;
struct GgufTensor;

enum class Family { kLlama, kQwen2, kQwen3, kMistral };
enum class RopeScaling { kNone, kLinear, kLlama3 };

struct ModelDesc {
  Family family = Family::kLlama;
  int64_t layers = 0;
  int64_t hidden = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;   // divides heads
  int64_t head_size = 0;  // even; heads * head_size need not be hidden
  int64_t ffn = 0;
  int64_t vocab = 0;
  int64_t context = 0;  // positions the model was made for
  float rms_epsilon = 0;

  float rope_theta = 10000;
  RopeScaling rope_scaling = RopeScaling::kNone;
  // 0 when the file gives only their result (a GGUF's rope_freqs.weight).
  float rope_factor = 0;
  float rope_low_freq_factor = 0;
  float rope_high_freq_factor = 0;
  int64_t rope_original_context = 0;
  // The angle of pair i at position p is p * rope_theta^(-2i / head_size) / rope_divisors[i].
  // head_size / 2 of them whatever the scaling, or empty: all 1.
  std::vector<float> rope_divisors;

  int64_t sliding_window = 0;  // a position sees itself and window - 1 before it; 0: all
  bool tied_embeddings = false;
  // Which projections have a bias, and whether q and k of each head are normed before RoPE.
  bool q_bias = false;
  bool k_bias = false;
  bool v_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;  // gate, up and down
  bool qk_norm = false;
};

/// "llama", "qwen2", "qwen3", "mistral".
const char* family_name(Family family);

/// From the metadata of `gguf` and the tensors that `find` finds by name (null: there is none):
/// those of a split model lie in several files. Throws INVALID_ARGUMENT naming the key that is
/// missing or out of range, UNSUPPORTED naming key, value and what is supported.
using FindGgufTensor = std::function<const GgufTensor*(std::string_view name)>;
ModelDesc desc_of(const Gguf& gguf, const FindGgufTensor& find);

/// From the text of a config.json; `path` names it in errors.
ModelDesc desc_of_config(std::string_view config, const std::string& path);

/// Throws INVALID_ARGUMENT unless the numbers fit together; `path` names the file in errors.
void check_desc(const ModelDesc& desc, const std::string& path);

/// Sets rope_divisors from the scaling's other members.
void set_rope_divisors(ModelDesc* desc);

}  // namespace tw
