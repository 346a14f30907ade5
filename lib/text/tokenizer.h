// Text to tokens and back.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/token_model.h"
#include "lib/text/vocabulary.h"

namespace tw {

/// Calls on one object may overlap.
class Tokenizer {
 public:
  /// Throws INVALID_ARGUMENT for an unknown model or pre-tokenizer (the valid ones are named) and
  /// for fields that contradict each other: ids out of range, lists of different lengths, merges
  /// that are not two parts. Of equal tokens encode() uses the first.
  explicit Tokenizer(Vocabulary vocabulary);

  /// The tokens of `text`, which may be any bytes; decode() gives the same bytes back as far as the
  /// vocabulary has tokens for them (a byte for which it has none is left out with model "gpt2" and
  /// the unknown token with "llama"; with "llama" U+2581 comes back as a space). The ids are
  /// llama.cpp's; only of invalid UTF-8 it makes U+FFFD, and here the bytes are kept.
  /// `special`: control tokens that stand in the text by their name become that token; without it
  /// they are text. User-defined tokens always do. Longer names are looked for before shorter ones.
  /// `add_bos`: puts vocabulary().bos first; throws INVALID_ARGUMENT when there is none. Pass
  /// vocabulary().add_bos where a text begins. Time n log n, also for text without a space.
  std::vector<int32_t> encode(std::string_view text, bool special, bool add_bos) const;

  /// The bytes of `ids`. `special`: control and unknown tokens give their names, else nothing.
  /// Throws INVALID_ARGUMENT for an id out of range. The space that add_space_prefix put in front
  /// is taken away again.
  std::string decode(std::span<const int32_t> ids, bool special) const;

  /// The bytes of one token; a control token's name. Throws like decode().
  std::string_view piece(int32_t id) const;

  /// Throws like decode().
  TokenType type(int32_t id) const;

  /// The id of the token with that text in the file, -1 when there is none.
  int32_t find(std::string_view token) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  struct Part {
    size_t begin;
    size_t size;
    int32_t token;  // -1: text
  };

  std::vector<Part> find_special(std::string_view text, bool special) const;

  const Vocabulary vocabulary_;
  std::vector<std::string> pieces_;
  std::vector<int32_t> special_;  // unknown, control and user-defined tokens, the longest first
  std::unique_ptr<const TokenModel> model_;
};

/// Tokens one at a time to text that a terminal can show: only whole UTF-8 characters come out.
class StreamDecoder {
 public:
  /// `special` as for Tokenizer::decode(). `continues`: the tokens go on after a prompt, so a space
  /// in front of the first is part of the text. `tokenizer` must outlive this object.
  StreamDecoder(const Tokenizer& tokenizer, bool special, bool continues);

  /// What can be shown after one more token. Throws like Tokenizer::decode().
  std::string put(int32_t id);

  /// What is left: the beginning of a character that never came to its end.
  std::string flush();

 private:
  const Tokenizer& tokenizer_;
  bool special_;
  bool drop_space_;
  std::string held_;
};

}  // namespace tw
