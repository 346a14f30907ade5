// How each pre-tokenizer's pattern cuts a text into words, by hand.
#include "lib/text/words.h"

#include <gtest/gtest.h>

#include "lib/base/error.h"
#include "lib/text/utf8.h"

namespace tw {
namespace {

std::string cut(const char* pre, std::string_view line) {
  std::vector<std::string_view> words;
  WordPattern(pre).split(line, words);
  std::string result;
  for (const std::string_view word : words) result += "[" + std::string(word) + "]";
  return result;
}

TEST(WordPattern, Gpt2) {
  EXPECT_EQ(cut("gpt-2", "Hello  world's 123 I'LL"), "[Hello][ ][ world]['s][ 123][ I]['][LL]");
  EXPECT_EQ(cut("gpt-2", "a\n\n b  "), "[a][\n\n][ b][  ]");
  EXPECT_EQ(cut("gpt-2", "x=1; ..."), "[x][=][1][;][ ...]");
}

TEST(WordPattern, SmolLm) {
  EXPECT_EQ(cut("smollm", "v12 34"), "[v][1][2][ ][3][4]");
  EXPECT_EQ(cut("smollm", "a   5   b"), "[a][   ][5][  ][ b]");
  EXPECT_EQ(cut("smollm", "½Ⅷ٣x"), "[½][Ⅷ][٣][x]");
}

TEST(WordPattern, Llama3) {
  EXPECT_EQ(cut("llama-bpe", "I'LL pay 12345$\n\n ok"), "[I]['LL][ pay][ ][123][45][$\n\n][ ok]");
  EXPECT_EQ(cut("llama-bpe", "(foo) \t\n x"), "[(foo][)][ \t\n][ x]");
  EXPECT_EQ(cut("llama-bpe", "a'ſ"), "[a]['ſ]");
}

TEST(WordPattern, Qwen2) {
  EXPECT_EQ(cut("qwen2", "I'Ve 2024\r\n  x"), "[I]['Ve][ ][2][0][2][4][\r\n][ ][ x]");
}

TEST(WordPattern, SpacesAreUnicodes) {
  for (const char* space :
       {"\t", "\n", "\v", "\f", "\r", " ", "\u0085", "\u00A0", "\u1680", "\u2000", "\u2005",
        "\u200A", "\u2028", "\u2029", "\u202F", "\u205F", "\u3000"})
    EXPECT_EQ(cut("smollm", std::string("!") + space + space),
              std::string("[!][") + space + space + "]");
  for (const char* other : {"\u200B", "\u2060", "\uFEFF", "\u001C", "\u180E"})
    EXPECT_EQ(cut("smollm", std::string("!") + other), std::string("[!") + other + "]");
  for (const char* pre : {"gpt-2", "smollm", "llama-bpe", "qwen2"}) {
    EXPECT_EQ(cut(pre, "a\u3000\u00A0b").substr(0, 3), "[a]") << pre;
  }
}

TEST(WordPattern, AnInvalidByteIsLikeAReplacementCharacter) {
  EXPECT_EQ(cut("gpt-2", "ab\xFF\xC3 cd"), "[ab][\xFF\xC3][ cd]");
  EXPECT_EQ(cut("gpt-2", "ab\uFFFD\uFFFD cd"), "[ab][\uFFFD\uFFFD][ cd]");
}

TEST(Utf8, WellFormedCharacters) {
  for (const char* good : {"a", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF",
                           "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    const std::string_view text = good;
    EXPECT_EQ(utf8::character_size(text), text.size());
    EXPECT_EQ(utf8::unfinished_size(text), 0u);
    for (size_t size = 1; size < text.size(); ++size) {
      EXPECT_EQ(utf8::character_size(text.substr(0, size)), 0u);
      EXPECT_EQ(utf8::unfinished_size(text.substr(0, size)), size);
    }
  }
  // Overlong, surrogates, above U+10FFFF, no beginning, no continuation.
  for (const char* bad :
       {"\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\x80", "\xFF", "\xC3z", "\xE2\x82z"}) {
    EXPECT_EQ(utf8::character_size(bad), 0u);
    EXPECT_EQ(utf8::unfinished_size(bad), 0u);
  }
}

TEST(WordPattern, AnUnknownNameIsRefused) {
  try {
    const WordPattern pattern("falcon");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), TW_ERROR_INVALID_ARGUMENT);
    EXPECT_STREQ(error.what(),
                 "pre-tokenizer \"falcon\" is unknown; valid: gpt-2, smollm, llama-bpe, qwen2");
  }
}

}  // namespace
}  // namespace tw
