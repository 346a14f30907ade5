// What a model file says of its text: the tokens and how text becomes tokens.
#pragma once

#include <cstdint>
#include <string>
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
  int64_t eot = -1;  // ends a turn of a chat, where that is not eos
  int64_t unknown = -1;
  int64_t padding = -1;
  bool add_bos = false;
  bool add_eos = false;
  bool add_space_prefix = false;
  std::string chat_template;  // the Jinja text; "" when there is none
};

/// Throws INVALID_ARGUMENT naming the key that is missing or wrong, UNSUPPORTED for another model.
Vocabulary vocabulary_of(const Gguf& gguf);

/// From the texts of a folder's files; `config` (tokenizer_config.json) may be empty. `path` names
/// the folder in errors.
Vocabulary vocabulary_of(const std::string& tokenizer, const std::string& config,
                         const std::string& path);

}  // namespace tw
