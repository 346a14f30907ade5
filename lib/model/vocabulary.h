// What a model file says of its text: the tokens and how text becomes tokens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tw {

class Gguf;

enum class TokenType : uint8_t {  // GGUF's numbers
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

/// The same whether it comes from a GGUF file or from tokenizer.json: names and values are those of
/// GGUF's tokenizer.ggml keys. Owns its texts.
struct Vocabulary {
  std::string model;  // "gpt2": byte-level BPE; "llama": SentencePiece
  std::string pre;    // gpt2: "smollm", "gpt-2", "llama-bpe", "qwen2"; "" for llama
  std::vector<std::string> tokens;
  std::vector<float> scores;        // llama: one a token; gpt2: may be empty
  std::vector<TokenType> types;     // one a token
  std::vector<std::string> merges;  // gpt2: "left right", the strongest first
  // -1: there is none.
  int64_t bos = -1;
  int64_t eos = -1;
  int64_t eot = -1;  // ends a turn of a chat; often eos itself
  int64_t unknown = -1;
  int64_t padding = -1;
  bool add_bos = false;
  bool add_eos = false;
  bool add_space_prefix = false;
  std::string chat_template;  // the Jinja text; "" when there is none
};

/// Throws INVALID_ARGUMENT naming the key that is missing or wrong, UNSUPPORTED for another model.
Vocabulary vocabulary_of(const Gguf& gguf);

/// The texts of the JSON files of a folder; tokenizer.json must be there, the others may be empty.
struct TokenizerTexts {
  std::string folder;                 // named in errors
  std::string_view tokenizer;         // tokenizer.json
  std::string_view tokenizer_config;  // tokenizer_config.json
  std::string_view config;            // config.json: ids that tokenizer_config.json lacks
  std::string_view chat_template;     // chat_template.jinja
};

/// Throws as the other does.
Vocabulary vocabulary_of(const TokenizerTexts& texts);

/// The name of the pre-tokenizer whose last split has this regular expression; "" when unknown.
std::string_view pre_of_regex(std::string_view regex);

/// Sets `eot` where the file has not: to the token of text "<|eot_id|>" or "<|im_end|>". Throws
/// INVALID_ARGUMENT when an id is no token's; `path` names the file.
void finish_vocabulary(Vocabulary* vocabulary, const std::string& path);

}  // namespace tw
