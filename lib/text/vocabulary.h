// What a model's file says of its tokens; the fields are those of GGUF's tokenizer.ggml.* keys.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tw {

/// A token's type, by GGUF's numbers.
enum class TokenType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

struct Vocabulary {
  std::string model;                // "gpt2": byte-level BPE; "llama": SentencePiece, as of Llama 2
  std::string pre;                  // gpt2 only: which pattern cuts the text into words
  std::vector<std::string> tokens;  // gpt2: in its alphabet of printable stand-ins for bytes
  std::vector<float> scores;        // llama only, one a token; the highest is merged first
  std::vector<TokenType> types;     // one a token; empty: all are normal
  std::vector<std::string> merges;  // gpt2 only: "a b", the first is merged first
  // Ids of tokens with a meaning; -1: there is none.
  int64_t bos = -1;
  int64_t eos = -1;
  int64_t eot = -1;  // ends a turn of a chat, where that is not eos
  int64_t unknown = -1;
  int64_t padding = -1;
  // Whether a text begins with bos and ends with eos. A file that does not say means add_bos for
  // model "llama" and for pre "llama-bpe", and no add_eos.
  bool add_bos = false;
  bool add_eos = false;
  // llama only: a text begins with a space that is not in it. A file that does not say means true.
  bool add_space_prefix = false;
  std::string chat_template;  // Jinja's text; empty: none
};

}  // namespace tw
