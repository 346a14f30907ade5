// Whole models by their files: descriptions, vocabularies, weights by name, row and column.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "lib/model/file.h"
#include "lib/model/names.h"
#include "tests/support/model_files.h"

namespace tw {
namespace {

void expect_shape(const ModelDesc& desc, Family family, int64_t head_size) {
  EXPECT_EQ(desc.family, family);
  EXPECT_EQ(desc.layers, 2);
  EXPECT_EQ(desc.hidden, 64);
  EXPECT_EQ(desc.heads, 4);
  EXPECT_EQ(desc.kv_heads, 2);
  EXPECT_EQ(desc.head_size, head_size);
  EXPECT_EQ(desc.ffn, 96);
  EXPECT_EQ(desc.vocab, 273);
  EXPECT_EQ(desc.context, 128);
  EXPECT_FLOAT_EQ(desc.rms_epsilon, 1e-6F);
  EXPECT_EQ(desc.rope_theta, 500000.0F);
  EXPECT_EQ(desc.sliding_window, 0);
}

// ---- Weights and descriptions -------------------------------------------------------------------

TEST(ModelFile, Llama) {
  const ModelFile file(fixture("llama.gguf"));
  expect_shape(file.desc(), Family::kLlama, 16);
  EXPECT_EQ(file.desc().rope_scaling, RopeScaling::kLlama3);
  EXPECT_FALSE(file.desc().tied_embeddings);
  EXPECT_FALSE(file.desc().q_bias || file.desc().mlp_bias || file.desc().qk_norm);
  EXPECT_EQ(wrong_weights(file, "llama"), "");
}

TEST(ModelFile, BiasesOfLlamaAreTurnedWithTheirRows) {
  const ModelFile file(fixture("llama_bias.gguf"));
  const ModelDesc& desc = file.desc();
  EXPECT_TRUE(desc.tied_embeddings);
  EXPECT_TRUE(desc.q_bias && desc.k_bias && desc.o_bias);
  EXPECT_FALSE(desc.v_bias);
  EXPECT_EQ(wrong_weights(file, "llama_bias"), "");
  const std::string name = "model.layers.1.self_attn.q_proj.bias";
  std::vector<float> all(64), part(9, -1);
  file.read_rows(name, 0, 1, all.data());
  file.read(name, {0, 1, 13, 9}, part.data(), 9);
  EXPECT_EQ(part, std::vector<float>(all.begin() + 13, all.begin() + 22));
}

TEST(ModelFile, Qwen2InThreeFiles) {
  for (const char* part : {"qwen2-00001-of-00003.gguf", "qwen2-00003-of-00003.gguf"}) {
    const ModelFile file(fixture(part));
    expect_shape(file.desc(), Family::kQwen2, 16);
    EXPECT_TRUE(file.desc().q_bias && file.desc().k_bias && file.desc().v_bias);
    EXPECT_FALSE(file.desc().o_bias);
    EXPECT_EQ(file.desc().rope_scaling, RopeScaling::kNone);
    EXPECT_EQ(wrong_weights(file, "qwen2"), "");
  }
}

TEST(ModelFile, Qwen3) {
  const ModelFile file(fixture("qwen3.gguf"));
  expect_shape(file.desc(), Family::kQwen3, 32);
  EXPECT_TRUE(file.desc().qk_norm);
  EXPECT_EQ(wrong_weights(file, "qwen3"), "");
}

TEST(ModelFile, ShardsOfSafetensors) {
  for (const char* name :
       {"", "/model.safetensors.index.json", "/model-00002-of-00002.safetensors"}) {
    const ModelFile file(fixture("hf_llama") + name);
    expect_shape(file.desc(), Family::kLlama, 16);
    EXPECT_EQ(wrong_weights(file, "hf_llama"), "");
  }
}

/// llama.cpp's own quantizer wrote the files, and expanded them for the digests.
TEST(ModelFile, WhatLlamaQuantizeWrites) {
  for (const std::string type :
       {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"}) {
    const ModelFile file(fixture("quantized/" + type + ".gguf"));
    EXPECT_EQ(file.desc().head_size, 64);
    EXPECT_EQ(wrong_weights(file, "quantized/" + type), "") << type;
  }
}

TEST(ModelFile, BothFormatsDescribeTheSameModel) {
  const ModelFile gguf(fixture("llama.gguf")), hf(fixture("hf_llama"));
  EXPECT_EQ(hf.desc().rope_scaling, RopeScaling::kLlama3);
  EXPECT_EQ(hf.desc().rope_original_context, 64);
  ASSERT_EQ(gguf.desc().rope_divisors.size(), 8u);
  ASSERT_EQ(hf.desc().rope_divisors.size(), 8u);
  bool blended = false;
  for (size_t i = 0; i < 8; ++i) {
    const float divisor = hf.desc().rope_divisors[i];
    EXPECT_NEAR(gguf.desc().rope_divisors[i], divisor, 2e-6F * divisor);
    blended = blended || (divisor > 1 && divisor < 8);
  }
  EXPECT_TRUE(blended);
  EXPECT_EQ(hf.desc().rope_divisors.front(), 1);
  EXPECT_EQ(hf.desc().rope_divisors.back(), 8);

  const Vocabulary a = gguf.vocabulary(), b = hf.vocabulary();
  EXPECT_EQ(a.model, "gpt2");
  EXPECT_EQ(a.pre, "llama-bpe");
  EXPECT_EQ(a.tokens.size(), 273u);
  EXPECT_EQ(a.merges.front(), "t h");
  EXPECT_EQ(a.types[270], TokenType::kControl);
  EXPECT_EQ(a.bos, 270);
  EXPECT_EQ(a.eot, 272);
  EXPECT_TRUE(a.add_bos);
  EXPECT_NE(a.chat_template, "");
  EXPECT_EQ(a.model, b.model);
  EXPECT_EQ(a.pre, b.pre);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.types, b.types);
  EXPECT_EQ(a.merges, b.merges);
  EXPECT_EQ(a.bos, b.bos);
  EXPECT_EQ(a.eos, b.eos);
  EXPECT_EQ(a.eot, b.eot);
  EXPECT_EQ(a.unknown, b.unknown);
  EXPECT_EQ(a.padding, b.padding);
  EXPECT_EQ(a.add_bos, b.add_bos);
  EXPECT_EQ(a.add_eos, b.add_eos);
  EXPECT_EQ(a.add_space_prefix, b.add_space_prefix);
  EXPECT_EQ(a.chat_template, b.chat_template);
}

// ---- Parts --------------------------------------------------------------------------------------

TEST(ModelFile, AnyBlockIsThatPartOfTheWhole) {
  const ModelFile file(fixture("llama.gguf"));
  for (const ExpectedWeight& weight : expected_weights(file.desc())) {
    std::vector<uint16_t> all(weight.rows * weight.cols);
    file.read_rows(weight.name, 0, weight.rows, all.data());
    const WeightRange ranges[] = {
        {0, weight.rows, 32, 32},                   // whole blocks
        {weight.rows / 3, 1, 1, 5},                 // within one
        {weight.rows / 2, weight.rows / 2, 31, 2},  // of two
        {0, 1, 7, weight.cols - 7},                 // an end
        {weight.rows, 0, 0, weight.cols},           // nothing
    };
    for (const WeightRange& range : ranges) {
      const uint64_t stride = range.cols + 3;
      std::vector<uint16_t> part(range.rows * stride, 0xa5a5);
      file.read(weight.name, range, part.data(), stride);
      for (uint64_t r = 0; r < range.rows; ++r)
        for (uint64_t c = 0; c < stride; ++c)
          ASSERT_EQ(part[r * stride + c],
                    c < range.cols ? all[(range.first_row + r) * weight.cols + range.first_col + c]
                                   : 0xa5a5)
              << weight.name << " row " << r << " column " << c;
    }
  }
}

TEST(ModelFile, ReachingBeyondAWeightIsRefused) {
  const ModelFile file(fixture("llama.gguf"));
  const std::string name = "model.layers.0.self_attn.k_proj.weight";
  std::vector<uint16_t> out(64);
  const WeightRange ranges[] = {
      {32, 1, 0, 64}, {31, 2, 0, 64},          {0, 1, 1, 64},
      {0, 1, 65, 0},  {1, ~uint64_t{0}, 0, 1}, {~uint64_t{0}, 2, 0, 1},
  };
  for (const WeightRange& range : ranges)
    EXPECT_PRED2(says, thrown([&] { file.read(name, range, out.data(), 64); }), name);
  EXPECT_PRED2(
      says, thrown([&] { file.read_rows("model.layers.2.mlp.up_proj.weight", 0, 1, out.data()); }),
      "weight \"model.layers.2.mlp.up_proj.weight\" is missing");
}

TEST(ModelFile, ProgressCountsWhatIsRead) {
  ModelFile file(fixture("llama.gguf"));
  uint64_t done = 0, all = 0, of_blocks = 0;
  file.set_progress(
      [&](uint64_t now, uint64_t total) {
        EXPECT_GT(now, done);
        done = now;
        all = total;
      },
      file.bytes());
  for (const ExpectedWeight& weight : expected_weights(file.desc())) {
    const WeightRange whole{0, weight.rows, 0, weight.cols};
    std::vector<uint16_t> out(weight.rows * weight.cols);
    file.read(weight.name, whole, out.data(), weight.cols);
    of_blocks += file.bytes_of(weight.name, whole);
  }
  EXPECT_EQ(done, file.bytes());
  EXPECT_EQ(all, file.bytes());
  EXPECT_EQ(of_blocks, file.bytes());
}

// ---- Folders and what is wrong with a model -----------------------------------------------------

TEST(ModelFile, AFolderStandsForTheModelInIt) {
  const TemporaryFolder folder;
  const auto copy = [&](const std::string& name, const std::string& to) {
    std::filesystem::copy_file(fixture(name), folder.path() + "/" + to);
  };
  EXPECT_PRED2(says, thrown([&] { const ModelFile file(folder.path()); }), "0 models");
  copy("qwen2-00001-of-00003.gguf", "qwen2-00001-of-00003.gguf");
  copy("qwen2-00002-of-00003.gguf", "qwen2-00002-of-00003.gguf");
  EXPECT_PRED2(says, thrown([&] { const ModelFile file(folder.path()); }),
               "qwen2-00003-of-00003.gguf");
  copy("qwen2-00003-of-00003.gguf", "qwen2-00003-of-00003.gguf");
  EXPECT_EQ(wrong_weights(ModelFile(folder.path()), "qwen2"), "");
  copy("qwen3.gguf", "other.gguf");
  EXPECT_PRED2(says, thrown([&] { const ModelFile file(folder.path()); }), "2 models");
  // A part under another part's name.
  std::filesystem::remove(folder.path() + "/qwen2-00003-of-00003.gguf");
  copy("qwen2-00002-of-00003.gguf", "qwen2-00003-of-00003.gguf");
  EXPECT_PRED2(says,
               thrown([&] { const ModelFile file(folder.path() + "/qwen2-00001-of-00003.gguf"); }),
               "\"split.no\"");
  copy("qwen2-00001-of-00003.gguf", "alone.gguf");
  EXPECT_PRED2(says, thrown([&] { const ModelFile file(folder.path() + "/alone.gguf"); }),
               "\"split.count\"");
  EXPECT_PRED2(says, thrown([&] { const ModelFile file(folder.path() + "/model.bin"); }),
               "valid: .gguf");
}

/// A smallest llama: a layer of one head.
GgufBytes small_keys(const std::string& without = "") {
  GgufBytes file;
  const auto number = [&](const std::string& name, uint32_t value) {
    if (name != without) file.number("llama." + name, value);
  };
  if (without != "general.architecture") file.text("general.architecture", "llama");
  number("block_count", 1);
  number("context_length", 64);
  number("embedding_length", 8);
  number("feed_forward_length", 8);
  number("attention.head_count", 1);
  number("vocab_size", 4);
  if (without != "attention.layer_norm_rms_epsilon")
    file.real("llama.attention.layer_norm_rms_epsilon", 1e-5F);
  return file;
}

ModelDesc desc_of_bytes(const GgufBytes& file) {
  const std::string bytes = file.bytes(64);
  const Gguf gguf(bytes, "FILE");
  return desc_of(gguf, [&gguf](std::string_view name) { return gguf.find_tensor(name); });
}

std::string refusal(const GgufBytes& file, tw_status_t expected) {
  tw_status_t status = TW_OK;
  std::string said = thrown([&] { desc_of_bytes(file); }, &status);
  EXPECT_EQ(status, expected) << said;
  return said;
}

TEST(ModelDesc, MissingKeysAreNamed) {
  EXPECT_EQ(desc_of_bytes(small_keys()).layers, 1);
  for (const char* key : {"general.architecture", "block_count", "context_length",
                          "embedding_length", "feed_forward_length", "attention.head_count",
                          "vocab_size", "attention.layer_norm_rms_epsilon"}) {
    EXPECT_PRED2(says, refusal(small_keys(key), TW_ERROR_INVALID_ARGUMENT),
                 std::string(key) + "\" is missing");
  }
}

TEST(ModelDesc, WhatIsUnsupportedIsNamedWithWhatIs) {
  const auto refused = [](GgufBytes& file, const char* part) {
    EXPECT_PRED2(says, refusal(file, TW_ERROR_UNSUPPORTED), part);
  };
  GgufBytes gemma = GgufBytes().text("general.architecture", "gemma2");
  refused(gemma, "\"general.architecture\" is \"gemma2\"; supported: llama, qwen2, qwen3");
  refused(small_keys().number("llama.expert_count", 8), "\"llama.expert_count\" is 8");
  refused(small_keys().text("llama.rope.scaling.type", "yarn"),
          "\"yarn\"; supported: none, linear");
  refused(small_keys().number("llama.rope.dimension_count", 4),
          "\"llama.rope.dimension_count\" is 4");
}

TEST(ModelDesc, NumbersOutOfRangeAreRefused) {
  const auto refused = [](const char* key, uint32_t value, const char* part) {
    EXPECT_PRED2(says,
                 refusal(small_keys(key).number("llama." + std::string(key), value),
                         TW_ERROR_INVALID_ARGUMENT),
                 part);
  };
  refused("block_count", 0, "block_count) is 0");
  refused("block_count", 4000000000, "block_count) is 4000000000");
  refused("attention.head_count", 0, "attention.head_count) is 0");
  refused("attention.head_count_kv", 3, "attention.head_count_kv) is 3; valid: 1 to 1");
  refused("attention.key_length", 7, "attention.key_length) is 7; valid: even");
  refused("attention.layer_norm_rms_epsilon", 0, "attention.layer_norm_rms_epsilon) is 0");
}

TEST(ModelDesc, LinearScalingDividesEveryPair) {
  const ModelDesc desc = desc_of_bytes(
      small_keys().text("llama.rope.scaling.type", "linear").real("llama.rope.scaling.factor", 4));
  EXPECT_EQ(desc.rope_scaling, RopeScaling::kLinear);
  EXPECT_EQ(desc.rope_divisors, (std::vector<float>{4, 4, 4, 4}));
}

TEST(ModelFile, AnyWeightThatIsMissingOrOfAnotherShapeIsNamed) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/model.gguf";
  const auto refusal_with = [&](const char* left_out, const char* wide,
                                const char* extra = nullptr) {
    GgufBytes file = small_keys();
    uint64_t offset = 0;
    const auto add = [&](const std::string& name, std::vector<uint64_t> shape) {
      if (name == left_out) return;
      if (name == wide) shape[0] += 8;
      file.tensor(name, shape, 0, offset);
      offset += 1024;
    };
    add("token_embd.weight", {8, 4});
    for (const char* name : {"attn_norm", "ffn_norm"}) add(text("blk.0.%s.weight", name), {8});
    for (const char* name :
         {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"})
      add(text("blk.0.%s.weight", name), {8, 8});
    add("output_norm.weight", {8});
    if (extra != nullptr) add(extra, {8});
    write_text(path, file.bytes(offset));
    return thrown([&] { const ModelFile file_of_them(path); });
  };
  EXPECT_EQ(refusal_with("", ""), "");
  EXPECT_PRED2(says, refusal_with("blk.0.ffn_up.weight", ""),
               "weight \"model.layers.0.mlp.up_proj.weight\" is missing");
  EXPECT_PRED2(says, refusal_with("", "blk.0.ffn_down.weight"), "is 8 x 16; the model needs 8 x 8");
  EXPECT_PRED2(says, refusal_with("", "", "blk.1.attn_norm.weight"),
               "is none of such a llama model's");
  EXPECT_PRED2(says, refusal_with("", "", "blk.0.attn_sinks.weight"),
               "tensor \"blk.0.attn_sinks.weight\"");
}

}  // namespace
}  // namespace tw
