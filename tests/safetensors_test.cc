// safetensors files, config.json, tokenizer.json: what is read, and what is refused by name.
#include "lib/model/safetensors.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "lib/model/desc.h"
#include "lib/model/json.h"
#include "lib/model/vocabulary.h"
#include "tests/fuzz/safetensors_input.h"
#include "tests/support/model_files.h"

namespace tw {
namespace {

std::string refusal(const std::function<void()>& call, tw_status_t expected) {
  tw_status_t status = TW_OK;
  std::string said = thrown(call, &status);
  EXPECT_EQ(status, expected) << said;
  return said;
}

std::string file_refusal(const std::string& bytes,
                         tw_status_t expected = TW_ERROR_INVALID_ARGUMENT) {
  return refusal([&] { const Safetensors file(bytes, "FILE"); }, expected);
}

// ---- Files --------------------------------------------------------------------------------------

constexpr char kTwo[] =
    R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]},)"
    R"("a":{"dtype":"F16","shape":[2,4],"data_offsets":[0,16]}})";

TEST(Safetensors, TensorsLieWhereTheHeaderSays) {
  const std::string bytes = safetensors_bytes(kTwo, 22);
  const Safetensors file(bytes, "FILE");
  ASSERT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.tensors()[0].name, "a");
  EXPECT_EQ(file.tensors()[0].shape, (std::vector<uint64_t>{2, 4}));
  EXPECT_EQ(file.find_tensor("b")->type, QuantType::kBF16);
  EXPECT_EQ(file.find_tensor("b")->data.data(), bytes.data() + bytes.size() - 6);
  EXPECT_EQ(file.find_tensor("b")->data.size(), 6u);
  EXPECT_EQ(file.find_tensor("__metadata__"), nullptr);
}

TEST(Safetensors, TruncationAtEveryByteIsRefused) {
  const std::string bytes = safetensors_bytes(kTwo, 22);
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::vector<char> cut(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_PRED2(says,
                 refusal(
                     [&] {
                       const Safetensors file({cut.data(), size}, "FILE");
                     },
                     TW_ERROR_INVALID_ARGUMENT),
                 "FILE: ");
  }
}

TEST(Safetensors, WhatDoesNotFitIsRefusedByName) {
  const auto one = [](const std::string& dtype, const std::string& shape,
                      const std::string& offsets, tw_status_t status = TW_ERROR_INVALID_ARGUMENT) {
    const std::string header = R"({"T":{"dtype":")" + dtype + R"(","shape":)" + shape +
                               R"(,"data_offsets":)" + offsets + "}}";
    std::string said = file_refusal(safetensors_bytes(header, 16), status);
    EXPECT_PRED2(says, said, "tensor \"T\"");
    return said;
  };
  EXPECT_PRED2(says, one("F32", "[5]", "[0,20]"), "within 16 bytes");
  EXPECT_PRED2(says, one("F32", "[4]", "[16,0]"), "data_offsets");
  EXPECT_PRED2(says, one("F32", "[4]", "[0,12]"), "has 16 bytes");
  EXPECT_PRED2(says, one("F32", "[4]", "[0]"), "data_offsets");
  EXPECT_PRED2(says, one("F32", "[4]", "[-4,12]"), "data_offsets");
  EXPECT_PRED2(says, one("F32", "[4]", "[0,16.0]"), "data_offsets");
  EXPECT_PRED2(says, one("F32", "[4]", "[0,18446744073709551615]"), "data_offsets");
  EXPECT_PRED2(says, one("F32", "[0]", "[0,0]"), "is empty");
  EXPECT_PRED2(says, one("F32", "[4611686018427387904]", "[0,16]"), "beyond 2^60");
  EXPECT_PRED2(says, one("F32", "[4294967296,4294967297]", "[0,16]"), "beyond 2^60");
  EXPECT_PRED2(says, one("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), "\"shape\"");
  EXPECT_PRED2(says, one("F8_E4M3", "[16]", "[0,16]", TW_ERROR_UNSUPPORTED),
               "\"dtype\" is \"F8_E4M3\"; supported: F32 F16 BF16");
  EXPECT_PRED2(says, file_refusal(safetensors_bytes(R"({"T":7})", 0)), "tensor \"T\" is no object");
  EXPECT_PRED2(says, file_refusal(safetensors_bytes(R"({"T":{"dtype":"F32","shape":[1]}})", 4)),
               "\"data_offsets\" is missing");
  EXPECT_PRED2(
      says,
      file_refusal(safetensors_bytes(R"({"A":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                                     R"("B":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                                     8)),
      "tensor \"B\" overlaps tensor \"A\"");
}

TEST(Safetensors, HeadersThatAreNotWhatTheyShouldBeAreRefused) {
  EXPECT_PRED2(says, file_refusal(raw(uint64_t{1} << 60) + "{}"),
               "a header of 1152921504606846976 bytes");
  EXPECT_PRED2(says, file_refusal(raw(~uint64_t{0}) + "{}"), "valid: up to 2");
  EXPECT_PRED2(says, file_refusal(safetensors_bytes("[]", 0)), "not a JSON object");
  EXPECT_PRED2(says, file_refusal(safetensors_bytes("{\"a\":}", 0)), "not JSON");
  EXPECT_PRED2(says, file_refusal(safetensors_bytes("{\"\xff\":1}", 0)), "not JSON");
  EXPECT_PRED2(says, file_refusal(safetensors_bytes(R"({"T":1,"T":2})", 0)), "\"T\" stands twice");
}

TEST(Json, BombsAreRefused) {
  const auto refused = [](const std::string& json) {
    return refusal([&] { parse_json(json, 1 << 25, "FILE", 1 << 16); }, TW_ERROR_INVALID_ARGUMENT);
  };
  EXPECT_PRED2(says, refused("{\"a\":" + std::string(1000000, '[')), "nested deeper than 32");
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  EXPECT_PRED2(says, refused(objects), "nested deeper than 32");
  std::string zeros = "{\"a\":[0";
  for (int i = 0; i < (1 << 16); ++i) zeros += ",0";
  EXPECT_PRED2(says, refused(zeros), "more than 65536 values");
  EXPECT_PRED2(says, refused("{\"a\":1e999}"), "not JSON");
  EXPECT_PRED2(
      says, refusal([] { parse_json(std::string(9, ' '), 8, "FILE"); }, TW_ERROR_INVALID_ARGUMENT),
      "9 bytes of JSON; valid: up to 8");
  std::string nested = "1";
  for (int i = 0; i < 31; ++i) nested.insert(0, "[").append("]");
  EXPECT_EQ(parse_json("{\"a\":" + nested + "}", 1000, "FILE").size(), 1u);
}

TEST(Safetensors, IndexesNameFilesBesideThem) {
  EXPECT_EQ(
      index_files(R"({"weight_map":{"x":"b.safetensors","y":"a.safetensors","z":"b.safetensors"}})",
                  "FILE"),
      (std::vector<std::string>{"a.safetensors", "b.safetensors"}));
  for (const char* name : {"../a", "/etc/passwd", "", "..", "a/b", "a\\u0000b"})
    EXPECT_PRED2(says,
                 refusal([&] { index_files(text(R"({"weight_map":{"x":"%s"}})", name), "FILE"); },
                         TW_ERROR_INVALID_ARGUMENT),
                 "\"weight_map.x\"");
  EXPECT_PRED2(says, refusal([] { index_files("{}", "FILE"); }, TW_ERROR_INVALID_ARGUMENT),
               "\"weight_map\" is missing");
}

// ---- config.json --------------------------------------------------------------------------------

Json config(const char* architecture) {
  return {{"architectures", {architecture}},
          {"hidden_size", 64},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"intermediate_size", 96},
          {"vocab_size", 300},
          {"max_position_embeddings", 128},
          {"rms_norm_eps", 1e-5}};
}

ModelDesc desc_of_json(const Json& json) { return desc_of_config(json.dump(), "FILE"); }

TEST(Config, Families) {
  ModelDesc desc = desc_of_json(config("LlamaForCausalLM"));
  EXPECT_EQ(desc.family, Family::kLlama);
  EXPECT_EQ(desc.head_size, 16);
  EXPECT_EQ(desc.rope_theta, 10000);
  EXPECT_FALSE(desc.tied_embeddings || desc.q_bias || desc.o_bias || desc.qk_norm);

  Json json = config("LlamaForCausalLM");
  json.update(
      {{"attention_bias", true}, {"mlp_bias", true}, {"head_dim", 80}, {"sliding_window", 9}});
  desc = desc_of_json(json);
  EXPECT_TRUE(desc.q_bias && desc.k_bias && desc.v_bias && desc.o_bias && desc.mlp_bias);
  EXPECT_EQ(desc.head_size, 80);
  EXPECT_EQ(desc.sliding_window, 0);  // which this class does not have

  json = config("Qwen2ForCausalLM");
  json.update(
      {{"use_sliding_window", false}, {"sliding_window", 32}, {"tie_word_embeddings", true}});
  desc = desc_of_json(json);
  EXPECT_EQ(desc.family, Family::kQwen2);
  EXPECT_TRUE(desc.q_bias && desc.k_bias && desc.v_bias && desc.tied_embeddings);
  EXPECT_FALSE(desc.o_bias);
  EXPECT_EQ(desc.sliding_window, 0);

  desc = desc_of_json(config("Qwen3ForCausalLM"));
  EXPECT_TRUE(desc.qk_norm);
  EXPECT_EQ(desc.head_size, 128);
  EXPECT_FALSE(desc.q_bias);

  json = config("MistralForCausalLM");
  json.update({{"sliding_window", 32}, {"rope_theta", 1e6}, {"head_dim", nullptr}});
  desc = desc_of_json(json);
  EXPECT_EQ(desc.family, Family::kMistral);
  EXPECT_EQ(desc.sliding_window, 32);
  EXPECT_EQ(desc.rope_theta, 1e6F);
  EXPECT_EQ(desc.head_size, 16);
}

TEST(Config, Scaling) {
  Json json = config("LlamaForCausalLM");
  json["rope_scaling"] = {{"type", "linear"}, {"factor", 2.0}};
  EXPECT_EQ(desc_of_json(json).rope_divisors, std::vector<float>(8, 2));
  json["rope_scaling"] = nullptr;
  EXPECT_TRUE(desc_of_json(json).rope_divisors.empty());
  json["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 5e5}};
  EXPECT_EQ(desc_of_json(json).rope_theta, 5e5F);
}

TEST(Config, WhatIsWrongIsNamed) {
  const auto refused = [](const char* key, const Json& value, tw_status_t status,
                          const char* part) {
    Json json = config("LlamaForCausalLM");
    json[key] = value;
    EXPECT_PRED2(says, refusal([&] { desc_of_json(json); }, status), part);
  };
  for (const char* key :
       {"architectures", "hidden_size", "num_hidden_layers", "num_attention_heads",
        "intermediate_size", "vocab_size", "max_position_embeddings", "rms_norm_eps"})
    refused(key, nullptr, TW_ERROR_INVALID_ARGUMENT, (std::string(key) + "\" is missing").c_str());
  refused("architectures", {"GemmaForCausalLM"}, TW_ERROR_UNSUPPORTED,
          "[\"GemmaForCausalLM\"]; supported: LlamaForCausalLM");
  refused("rope_scaling", {{"rope_type", "yarn"}}, TW_ERROR_UNSUPPORTED,
          "\"rope_scaling.rope_type\" is \"yarn\"; supported: default, linear, llama3");
  refused("rope_scaling", {{"type", "linear"}}, TW_ERROR_INVALID_ARGUMENT,
          "\"rope_scaling.factor\"");
  refused("rope_scaling", {{"type", "linear"}, {"factor", 0}}, TW_ERROR_INVALID_ARGUMENT,
          "RoPE factor");
  refused("hidden_act", "gelu", TW_ERROR_UNSUPPORTED, "\"hidden_act\" is \"gelu\"");
  refused("quantization_config", {{"bits", 4}}, TW_ERROR_UNSUPPORTED, "\"quantization_config\"");
  refused("hidden_size", "64", TW_ERROR_INVALID_ARGUMENT, "\"hidden_size\" is \"64\"; expected");
  refused("num_key_value_heads", 3, TW_ERROR_INVALID_ARGUMENT,
          "no multiple of 3 key/value heads (num_key_value_heads");
  refused("vocab_size", uint64_t{1} << 63, TW_ERROR_INVALID_ARGUMENT, "\"vocab_size\"");
  refused("vocab_size", -1, TW_ERROR_INVALID_ARGUMENT, "vocab_size, tokenizer.ggml.tokens) is -1");
}

// ---- tokenizer.json -----------------------------------------------------------------------------

Json tokenizer() {
  return Json::parse(
      R"({"added_tokens":[{"id":4,"content":"<|im_end|>","special":false},{"id":5,"content":"<x>"}],
          "pre_tokenizer":{"type":"Sequence","pretokenizers":[
            {"type":"Digits","individual_digits":true},
            {"type":"ByteLevel","add_prefix_space":false,"use_regex":true}]},
          "model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b",["ab","a"]]}})");
}

Vocabulary vocabulary(const Json& json, const std::string& tokenizer_config = "",
                      const std::string& config = "") {
  const std::string text = json.dump();
  return vocabulary_of({"FOLDER", text, tokenizer_config, config, ""});
}

TEST(Tokenizer, BytePairs) {
  const Vocabulary read =
      vocabulary(tokenizer(), R"({"bos_token":"a","eos_token":{"content":"<|im_end|>"}})",
                 R"({"pad_token_id":1,"eos_token_id":[0,1]})");
  EXPECT_EQ(read.model, "gpt2");
  EXPECT_EQ(read.pre, "smollm");
  EXPECT_EQ(read.tokens, (std::vector<std::string>{"a", "b", "ab", "[PAD3]", "<|im_end|>", "<x>"}));
  using enum TokenType;
  EXPECT_EQ(read.types,
            (std::vector<TokenType>{kNormal, kNormal, kNormal, kUnused, kControl, kUserDefined}));
  EXPECT_EQ(read.merges, (std::vector<std::string>{"a b", "ab a"}));
  EXPECT_EQ(read.bos, 0);
  EXPECT_EQ(read.eos, 4);
  EXPECT_EQ(read.eot, 4);
  EXPECT_EQ(read.padding, 1);
  EXPECT_EQ(read.unknown, -1);
  EXPECT_FALSE(read.add_bos || read.add_eos || read.add_space_prefix);
}

TEST(Tokenizer, PreTokenizersAreKnownByWhatTheySplitBy) {
  constexpr char kLetters[] = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)";
  constexpr char kRest[] = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const auto pre_of = [](const std::string& regex) {
    Json json = tokenizer();
    json["pre_tokenizer"]["pretokenizers"] = {
        {{"type", "Split"}, {"pattern", {{"Regex", regex}}}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}};
    return vocabulary(json).pre;
  };
  EXPECT_EQ(pre_of(kLetters + std::string(R"(\p{N}{1,3})") + kRest), "llama-bpe");
  EXPECT_EQ(pre_of(kLetters + std::string(R"(\p{N})") + kRest), "qwen2");
  EXPECT_PRED2(says, refusal([&] { pre_of("[a-z]+"); }, TW_ERROR_UNSUPPORTED), "\"[a-z]+\"");
  Json json = tokenizer();
  json["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  EXPECT_EQ(vocabulary(json).pre, "gpt-2");
  json.erase("pre_tokenizer");
  EXPECT_PRED2(says, refusal([&] { vocabulary(json); }, TW_ERROR_UNSUPPORTED), "\"pre_tokenizer\"");
}

TEST(Tokenizer, SentencePieceAsBytePairs) {
  const Vocabulary read =
      vocabulary(Json::parse(
                     R"({"added_tokens":[{"id":0,"content":"<unk>","special":true},
                              {"id":1,"content":"<s>","special":true}],
              "model":{"type":"BPE","byte_fallback":true,"unk_token":"<unk>",
              "vocab":{"<unk>":0,"<s>":1,"<0x0A>":2,"a":3,"b":4,"ab":5,"ba":6},
              "merges":["b a","a b"]}})"),
                 R"({"add_bos_token":false})");
  EXPECT_EQ(read.model, "llama");
  EXPECT_EQ(read.unknown, 0);
  EXPECT_TRUE(read.add_space_prefix);
  EXPECT_FALSE(read.add_bos);
  using enum TokenType;
  EXPECT_EQ(read.types, (std::vector<TokenType>{kUnknown, kControl, kByte, kNormal, kNormal,
                                                kNormal, kNormal}));
  // The merge that comes first scores highest, single letters lowest.
  EXPECT_GT(read.scores[6], read.scores[5]);
  EXPECT_GT(read.scores[5], read.scores[3]);
}

TEST(Tokenizer, WhatIsWrongIsNamed) {
  const auto refused = [](const char* pointer, const Json& value, const char* part,
                          tw_status_t status = TW_ERROR_INVALID_ARGUMENT) {
    Json json = tokenizer();
    json[Json::json_pointer(pointer)] = value;
    SCOPED_TRACE(part);
    EXPECT_PRED2(says, refusal([&] { vocabulary(json); }, status), part);
  };
  refused("/model", nullptr, "\"model\" is missing");
  refused("/model/type", "Unigram", "\"model.type\" is \"Unigram\"", TW_ERROR_UNSUPPORTED);
  refused("/model/vocab", nullptr, "\"model.vocab\" is missing");
  refused("/model/vocab/b", "1", "\"model.vocab.b\" is \"1\"");
  refused("/model/vocab/b", 0, "id 0 has two tokens");
  refused("/model/vocab/b", -1, "has id -1");
  refused("/model/vocab/b", int64_t{1} << 40, "has id 1099511627776; valid: 0 to 1048575");
  refused("/model/merges", "a b", "\"model.merges\"");
  for (const Json& merge : {Json("ab"), Json("a b c"), Json(" b"), Json({"a", "b", "c"}), Json(7)})
    refused("/model/merges/0", merge, "\"model.merges\"");
  refused("/added_tokens/0/id", nullptr, "\"added_tokens.id\" is missing");
  refused("/pre_tokenizer/pretokenizers/0/type", "Metaspace", "\"Metaspace\"",
          TW_ERROR_UNSUPPORTED);
  EXPECT_PRED2(
      says,
      refusal([] { vocabulary(tokenizer(), R"({"bos_token":"zz"})"); }, TW_ERROR_INVALID_ARGUMENT),
      "bos_token is \"zz\", which is no token");
  EXPECT_PRED2(says,
               refusal([] { vocabulary(tokenizer(), "", R"({"bos_token_id":6})"); },
                       TW_ERROR_INVALID_ARGUMENT),
               "the bos token is 6; valid: 0 to 5");
}

TEST(Safetensors, SeedsOfTheFuzzTargetAreAccepted) {
  EXPECT_EQ(refused_seeds("safetensors", fuzz::run_safetensors_input), "");
}

}  // namespace
}  // namespace tw
