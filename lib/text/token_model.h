// The seam between Tokenizer and the two kinds of model.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/text/vocabulary.h"

namespace tw {

class TokenModel {
 public:
  TokenModel() = default;
  TokenModel(const TokenModel&) = delete;
  TokenModel& operator=(const TokenModel&) = delete;
  virtual ~TokenModel() = default;

  /// Appends the tokens of `text` (not empty), in which special tokens are not looked for. It is
  /// the beginning or follows a special token. Calls on one object may overlap.
  virtual void encode(std::string_view text, std::vector<int32_t>& ids) const = 0;
};

/// Both keep views of `vocabulary`, which must stay where it is. They throw INVALID_ARGUMENT for a
/// vocabulary that they cannot be made of.
std::unique_ptr<const TokenModel> make_byte_pairs(const Vocabulary& vocabulary);
std::unique_ptr<const TokenModel> make_sentence_pieces(const Vocabulary& vocabulary);

/// The byte that a token such as <0x0A> stands for, -1 when its text is none of these.
int byte_of_text(std::string_view text);

/// U+2581, which SentencePiece writes for a space.
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

/// `text` with every `from` replaced by `to`.
std::string replaced(std::string_view text, std::string_view from, std::string_view to);

/// Words that one call of encode() has met: their tokens already stand in its answer.
class WordCache {
 public:
  /// Appends the word's tokens to `ids` if it was met before.
  bool repeat(std::string_view word, std::vector<int32_t>& ids) const;

  /// `word`, which must outlive the cache, became the tokens of `ids` from `begin` on.
  void keep(std::string_view word, size_t begin, const std::vector<int32_t>& ids);

 private:
  // Longer words do not come again; a text of nothing but new words must not fill the memory.
  static constexpr size_t kLongest = 64;
  static constexpr size_t kMost = 1 << 16;
  struct Place {
    size_t begin;
    size_t count;
  };
  std::unordered_map<std::string_view, Place> places_;
};

}  // namespace tw
