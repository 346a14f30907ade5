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

void add(std::vector<LlamaCase>& cases, const char* name, const LlamaConfig& config) {
  cases.push_back({name, config, 1000 + cases.size(), 40});
}

void add_llama(std::vector<LlamaCase>& cases) {
  using enum LlamaFamily;
  LlamaConfig c = sized(kLlama, 32, 2, 2, 64);
  c.tied = true;
  add(cases, "llama_tied", c);

  c = sized(kLlama, 40, 4, 2, 64);
  c.ffn = 56;
  c.vocab = 101;
  add(cases, "llama_untied", c);

  // Wave lengths are 6.3, 9.5, 14.3 ... 2e6 tokens: some on each side of 8 and 32, some between.
  c = sized(kLlama, 32, 2, 1, 64);
  c.tied = true;
  c.rope_theta = 500000;
  c.rope = {RopeScaling::kLlama3, 8, 1, 4, 32};
  add(cases, "llama_rope3", c);

  c = sized(kLlama, 32, 2, 1, 80);
  c.rope.kind = RopeScaling::kLinear;
  c.rope.factor = 4;
  add(cases, "llama_linear", c);

  c = sized(kLlama, 32, 2, 1, 64);
  c.qkv_bias = c.o_bias = c.mlp_bias = true;
  c.rms_eps = 1e-3;
  add(cases, "llama_biases", c);

  c = sized(kLlama, 24, 9, 3, 64);
  c.tied = true;
  add(cases, "llama_uneven", c);
}

void add_others(std::vector<LlamaCase>& cases) {
  using enum LlamaFamily;
  // llama.cpp wants heads x head size = hidden of this family.
  LlamaConfig c = sized(kQwen2, 128, 2, 1, 64);
  c.ffn = 32;
  c.tied = true;
  c.qkv_bias = true;
  c.rms_eps = 1e-6;
  c.rope_theta = 1e6;
  add(cases, "qwen2", c);

  c = sized(kQwen3, 32, 2, 1, 128);
  c.qk_norm = true;
  c.rms_eps = 1e-6;
  c.rope_theta = 1e6;
  add(cases, "qwen3", c);

  c = sized(kMistral, 32, 2, 1, 96);
  c.window = 7;
  add(cases, "mistral", c);
}

}  // namespace

std::vector<LlamaCase> llama_cases() {
  std::vector<LlamaCase> cases;
  add_llama(cases);
  add_others(cases);
  return cases;
}

}  // namespace tw::test
