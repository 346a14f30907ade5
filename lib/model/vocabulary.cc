#include "lib/model/vocabulary.h"

#include <algorithm>
#include <span>

#include "lib/base/error.h"
#include "lib/model/gguf.h"
#include "lib/model/name_text.h"

namespace tw {
namespace {

constexpr char kPrefix[] = "tokenizer.ggml.";

std::string full(const char* key) { return kPrefix + std::string(key); }

/// Pre-tokenizers and the names that llama.cpp's converter gives to what splits alike.
struct Pre {
  const char* name;
  const char* ours;
};
constexpr Pre kPres[] = {
    {"gpt-2", "gpt-2"},         {"default", "gpt-2"},          {"smollm", "smollm"},
    {"llama-bpe", "llama-bpe"}, {"llama3", "llama-bpe"},       {"llama-v3", "llama-bpe"},
    {"qwen2", "qwen2"},         {"deepseek-r1-qwen", "qwen2"},
};

void read_model(const Gguf& gguf, Vocabulary* vocabulary) {
  const auto model = gguf.text(full("model"));
  if (!model)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: key \"tokenizer.ggml.model\" is missing",
         gguf.path().c_str());
  if (*model != "gpt2" && *model != "llama")
    fail(TW_ERROR_UNSUPPORTED, "%s: key \"tokenizer.ggml.model\" is %s; supported: gpt2, llama",
         gguf.path().c_str(), name_text(*model).c_str());
  vocabulary->model = *model;
  if (*model == "llama") return;
  const std::string_view pre = gguf.text(full("pre")).value_or("default");
  for (const Pre& row : kPres)
    if (pre == row.name) vocabulary->pre = row.ours;
  if (vocabulary->pre.empty())
    fail(TW_ERROR_UNSUPPORTED,
         "%s: key \"tokenizer.ggml.pre\" is %s; supported: gpt-2, smollm, llama-bpe, qwen2",
         gguf.path().c_str(), name_text(pre).c_str());
}

void check_count(const Gguf& gguf, const char* key, size_t count, size_t tokens) {
  if (count != tokens)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: key \"tokenizer.ggml.%s\" has %zu elements for %zu tokens",
         gguf.path().c_str(), key, count, tokens);
}

void read_tokens(const Gguf& gguf, Vocabulary* vocabulary) {
  const auto tokens = gguf.texts(full("tokens"));
  if (tokens.empty())
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: key \"tokenizer.ggml.tokens\" is missing or empty",
         gguf.path().c_str());
  vocabulary->tokens.assign(tokens.begin(), tokens.end());
  const auto merges = gguf.texts(full("merges"));
  vocabulary->merges.assign(merges.begin(), merges.end());
  if (vocabulary->model == "gpt2" && merges.empty())
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: key \"tokenizer.ggml.merges\" is missing or empty",
         gguf.path().c_str());
  vocabulary->scores = gguf.numbers(full("scores"));
  if (!vocabulary->scores.empty() || vocabulary->model == "llama")
    check_count(gguf, "scores", vocabulary->scores.size(), tokens.size());
  const auto types = gguf.integers(full("token_type"));
  vocabulary->types.assign(tokens.size(), TokenType::kNormal);
  if (gguf.find(full("token_type")) == nullptr) return;
  check_count(gguf, "token_type", types.size(), tokens.size());
  for (size_t i = 0; i < types.size(); ++i) {
    // 0 is "undefined": some converters leave it.
    if (types[i] < 0 || types[i] > 6)
      fail(TW_ERROR_INVALID_ARGUMENT,
           "%s: key \"tokenizer.ggml.token_type\" has %lld for token %zu; valid: 0 to 6",
           gguf.path().c_str(), static_cast<long long>(types[i]), i);
    vocabulary->types[i] = static_cast<TokenType>(std::max<int64_t>(types[i], 1));
  }
}

}  // namespace

Vocabulary vocabulary_of(const Gguf& gguf) {
  Vocabulary vocabulary;
  read_model(gguf, &vocabulary);
  read_tokens(gguf, &vocabulary);
  const auto id = [&gguf](const char* key) { return gguf.integer(full(key)).value_or(-1); };
  vocabulary.bos = id("bos_token_id");
  vocabulary.eos = id("eos_token_id");
  vocabulary.eot = id("eot_token_id");
  vocabulary.unknown = id("unknown_token_id");
  vocabulary.padding = id("padding_token_id");
  // What llama.cpp takes where the file says nothing.
  const bool llama = vocabulary.model == "llama";
  vocabulary.add_bos =
      gguf.flag(full("add_bos_token")).value_or(llama || vocabulary.pre == "llama-bpe");
  vocabulary.add_eos = gguf.flag(full("add_eos_token")).value_or(false);
  vocabulary.add_space_prefix = gguf.flag(full("add_space_prefix")).value_or(llama);
  vocabulary.chat_template = gguf.text("tokenizer.chat_template").value_or("");
  finish_vocabulary(&vocabulary, gguf.path());
  return vocabulary;
}

void finish_vocabulary(Vocabulary* vocabulary, const std::string& path) {
  const auto count = static_cast<int64_t>(vocabulary->tokens.size());
  const struct {
    const char* name;
    int64_t id;
  } ids[] = {{"bos", vocabulary->bos},
             {"eos", vocabulary->eos},
             {"eot", vocabulary->eot},
             {"unknown", vocabulary->unknown},
             {"padding", vocabulary->padding}};
  for (const auto& [name, id] : ids)
    if (id < -1 || id >= count)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: the %s token is %lld; valid: 0 to %lld", path.c_str(),
           name, static_cast<long long>(id), static_cast<long long>(count - 1));
  if (vocabulary->eot >= 0) return;
  for (int64_t i = 0; i < count; ++i) {
    const std::string& token = vocabulary->tokens[static_cast<size_t>(i)];
    if (token == "<|eot_id|>" || token == "<|im_end|>") vocabulary->eot = i;
  }
}

}  // namespace tw
