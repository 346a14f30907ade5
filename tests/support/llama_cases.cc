#include "tests/support/llama_cases.h"

namespace tw::test {
namespace {

LlamaConfig sized(LlamaFamily family, int hidden, int heads, int kv_heads, int head_size) {
  LlamaConfig c;
  c.family = family;
  c.hidden = hidden;
  c.heads = heads;
  c.kv_heads = kv_heads;
  c.head_size = head_size;
  c.ffn = 48;
  c.vocab = 96;
  return c;
}

}  // namespace

std::vector<LlamaCase> llama_cases() {
  using enum LlamaFamily;
  std::vector<LlamaCase> cases;
  const auto add = [&](const char* name, const LlamaConfig& config) {
    cases.push_back({name, config, 1000 + cases.size(), 40});
  };

  LlamaConfig c = sized(kLlama, 32, 2, 2, 64);
  c.tied = true;
  add("llama_tied", c);

  c = sized(kLlama, 40, 4, 2, 64);
  c.ffn = 56;
  c.vocab = 101;
  add("llama_untied", c);

  // The 32 wave lengths are from 6.3 to 4.7e5 tokens: some on each side of 8 and 32, some between.
  c = sized(kLlama, 32, 2, 1, 64);
  c.tied = true;
  c.rope_theta = 500000;
  c.rope = {RopeScaling::kLlama3, 8, 1, 4, 32};
  add("llama_rope3", c);

  c = sized(kLlama, 32, 2, 1, 80);
  c.rope.kind = RopeScaling::kLinear;
  c.rope.factor = 4;
  add("llama_linear", c);

  c = sized(kLlama, 32, 2, 1, 64);
  c.qkv_bias = c.o_bias = c.mlp_bias = true;
  c.rms_eps = 1e-3;
  add("llama_biases", c);

  c = sized(kLlama, 24, 9, 3, 64);
  c.tied = true;
  add("llama_uneven", c);

  // llama.cpp wants heads x head size = hidden of this family.
  c = sized(kQwen2, 128, 2, 1, 64);
  c.ffn = 32;
  c.tied = true;
  c.qkv_bias = true;
  c.rms_eps = 1e-6;
  c.rope_theta = 1e6;
  add("qwen2", c);

  c = sized(kQwen3, 32, 2, 1, 128);
  c.qk_norm = true;
  c.rms_eps = 1e-6;
  c.rope_theta = 1e6;
  add("qwen3", c);

  c = sized(kMistral, 32, 2, 1, 96);
  c.window = 7;
  add("mistral", c);
  return cases;
}

}  // namespace tw::test
