// The first step of byte-level BPE: a text is cut into words, which are then merged each by itself.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct pcre2_real_code_8;

namespace tw {

/// One of the patterns `gpt-2`, `smollm`, `llama-bpe`, `qwen2`. Calls on one object may overlap.
class WordPattern {
 public:
  /// Throws INVALID_ARGUMENT naming the valid names for another `pre`.
  explicit WordPattern(const std::string& pre);

  /// Appends the words of `text`, which together are the text. A byte that is not part of a
  /// well-formed character is to the pattern what U+FFFD is: neither letter, number nor space.
  void split(std::string_view text, std::vector<std::string_view>& words) const;

  /// Whether a word that is a token stays whole, whatever the merges make of it.
  bool whole_words() const { return whole_words_; }

 private:
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };
  std::unique_ptr<pcre2_real_code_8, Free> code_;
  bool whole_words_ = false;
};

}  // namespace tw
