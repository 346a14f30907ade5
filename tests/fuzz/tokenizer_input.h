// What the fuzz target of the tokenizer does with one input. A unit test runs the seeds through it.
// The first byte chooses the vocabulary and whether special tokens are looked for, the second cuts
// what follows: as many bytes are merges to be added (each up to a line break), the rest is a text.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>

#include "lib/base/error.h"
#include "lib/text/tokenizer.h"
#include "lib/text/utf8.h"
#include "tests/support/text_vocabulary.h"

namespace tw::fuzz {

/// The made-up vocabulary of model "llama", small enough to be made for every input.
inline Vocabulary small_sentences() {
  Vocabulary vocabulary = small_vocabulary("");
  vocabulary.model = "llama";
  vocabulary.tokens.resize(3);
  vocabulary.types.resize(3);
  for (int byte = 0; byte < 256; ++byte) vocabulary.tokens.push_back(text("<0x%02X>", byte));
  vocabulary.types.resize(vocabulary.tokens.size(), TokenType::kByte);
  for (const char* token : {"▁", "▁▁", "a", "b", "ab", "▁a", "▁ab", "aa", "é"})
    vocabulary.tokens.emplace_back(token);
  vocabulary.types.resize(vocabulary.tokens.size(), TokenType::kNormal);
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id)
    vocabulary.scores.push_back(-static_cast<float>(id % 7));
  vocabulary.add_space_prefix = true;
  return vocabulary;
}

inline Vocabulary chosen_vocabulary(int choice) {
  constexpr const char* kPatterns[] = {"gpt-2", "smollm", "llama-bpe", "qwen2"};
  return choice < 4 ? small_vocabulary(kPatterns[choice]) : small_sentences();
}

/// Whether `at` lies within a well-formed character of `text`.
inline bool is_inside(std::string_view text, size_t at) {
  for (size_t back = 1; back <= std::min<size_t>(3, at); ++back)
    if (utf8::character_size(text.substr(at - back)) > back) return true;
  return false;
}

inline void check_round_trip(const Tokenizer& tokenizer, std::string_view text, bool special) {
  const std::vector<int32_t> ids = tokenizer.encode(text, special, false);
  std::string expected(text);
  if (tokenizer.vocabulary().model == "llama") expected = replaced(text, kSpaceMark, " ");
  if (tokenizer.decode(ids, true) != expected) std::abort();
  StreamDecoder stream(tokenizer, true, false);
  std::string streamed;
  for (const int32_t id : ids) {
    streamed += stream.put(id);
    if (streamed.size() < expected.size() && is_inside(expected, streamed.size())) std::abort();
  }
  if (streamed + stream.flush() != expected) std::abort();
}

/// True when the vocabulary was taken.
inline bool run_tokenizer_input(std::string_view input) {
  if (input.size() < 2) return false;
  const auto choice = static_cast<unsigned char>(input[0]);
  const size_t cut = std::min<size_t>(static_cast<unsigned char>(input[1]), input.size() - 2);
  Vocabulary vocabulary = chosen_vocabulary(choice / 2 % 5);
  std::string_view merges = input.substr(2, cut);
  while (!merges.empty()) {
    const size_t end = std::min(merges.find('\n'), merges.size());
    vocabulary.merges.emplace_back(merges.substr(0, end));
    merges.remove_prefix(std::min(end + 1, merges.size()));
  }
  try {
    const Tokenizer tokenizer(std::move(vocabulary));
    check_round_trip(tokenizer, input.substr(2 + cut), choice % 2 == 0);
  } catch (const Error& error) {
    if (*error.what() == '\0') std::abort();  // refused without a word
    return false;
  }
  return true;
}

}  // namespace tw::fuzz
