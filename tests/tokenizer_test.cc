// Text to tokens and back: against llama.cpp's ids of 20,000 lines, by hand, and with vocabularies
// that nobody should make.
#include "lib/text/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "lib/base/error.h"
#include "lib/text/byte_alphabet.h"
#include "lib/text/utf8.h"
#include "tests/fuzz/tokenizer_input.h"
#include "tests/support/text_lines.h"
#include "tests/support/text_vocabulary.h"

namespace tw {
namespace {

using Ids = std::vector<int32_t>;

const std::vector<std::string>& lines() {
  static const std::vector<std::string> all = text_lines();
  return all;
}

std::string shown(const std::string& line) {
  std::string result;
  for (const char byte : line)
    result += byte >= ' ' && byte < 127 ? std::string(1, byte)
                                        : text("\\x%02X", static_cast<unsigned char>(byte));
  return result;
}

// ---- llama.cpp's ids ----------------------------------------------------------------------------
Vocabulary vocabulary_of(const std::string& name) {
  if (name == "llama" || name == "llama-inner") return sentence_vocabulary(name == "llama-inner");
  return smollm2_vocabulary(name.c_str());
}

class TokenizerLines : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerLines, AreThoseOfLlamaCpp) {
  const std::string name = GetParam();
  const Tokenizer tokenizer(vocabulary_of(name));
  std::ifstream file("tests/fixtures/text/" + name + ".hashes");
  int wrong = 0;
  for (int first = 0; first < kTextLines; first += kLinesOfHash) {
    IdsHash hash;
    for (int line = first; line < first + kLinesOfHash; ++line)
      hash.add(tokenizer.encode(with_replacements(lines()[line]), special_in_line(line), false));
    std::string expected;
    ASSERT_TRUE(file >> expected) << "fewer hashes than lines";
    if (text("%016llx", static_cast<unsigned long long>(hash.value())) != expected && ++wrong <= 3)
      ADD_FAILURE() << "lines " << first << " to " << first + kLinesOfHash - 1
                    << ", the first: " << shown(lines()[first]);
  }
  EXPECT_EQ(wrong, 0) << "of " << kTextLines / kLinesOfHash << " groups of lines";
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerLines,
                         testing::Values("smollm", "gpt-2", "llama-bpe", "qwen2", "llama",
                                         "llama-inner"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Tokenizer, IdsInFullAreThoseOfLlamaCpp) {
  const Tokenizer tokenizer(smollm2_vocabulary());
  std::ifstream file("tests/fixtures/text/smollm.ids");
  std::string row;
  int line = 0;
  for (; std::getline(file, row); line += kFullEvery) {
    std::istringstream numbers(row);
    const Ids expected{std::istream_iterator<int32_t>(numbers), {}};
    EXPECT_EQ(tokenizer.encode(with_replacements(lines()[line]), special_in_line(line), false),
              expected)
        << "line " << line << ": " << shown(lines()[line]);
  }
  EXPECT_EQ(line, kTextLines);
}

/// `line` without the bytes for which the vocabulary has no token.
std::string known_bytes(const Tokenizer& tokenizer, const std::string& line) {
  std::string known;
  for (const char byte : line)
    if (tokenizer.find(letter_of_byte(static_cast<unsigned char>(byte))) >= 0) known += byte;
  return known;
}

TEST(Tokenizer, LinesComeBackInvalidBytesIncluded) {
  const Tokenizer smollm2(smollm2_vocabulary());
  const Tokenizer sentences(sentence_vocabulary(false));
  int invalid = 0;
  int incomplete = 0;
  for (int i = 0; i < kTextLines; i += 7) {
    const std::string& line = lines()[i];
    const bool special = special_in_line(i);
    invalid += with_replacements(line) != line;
    const bool lacks =
        line.find_first_of("\x06\x13\x14\x16\x1D\xC0\xC1\xF1\xF2\xFE\xFF") != std::string::npos;
    incomplete += lacks;
    EXPECT_EQ(smollm2.decode(smollm2.encode(line, special, false), true),
              lacks ? known_bytes(smollm2, line) : line)
        << shown(line);
    EXPECT_EQ(sentences.decode(sentences.encode(line, special, true), true),
              "<s>" + replaced(line, kSpaceMark, " "))
        << shown(line);
  }
  EXPECT_GT(invalid, 50);
  EXPECT_GT(incomplete, 10);
}

// ---- Special tokens, begin of text --------------------------------------------------------------
TEST(Tokenizer, SpecialTokensOnlyWhereAskedFor) {
  const Tokenizer tokenizer(smollm2_vocabulary());
  const std::string name = "<|im_start|>";
  EXPECT_EQ(tokenizer.encode(name, true, false), Ids{1});
  EXPECT_EQ(tokenizer.encode(name, true, true), (Ids{1, 1}));
  const Ids as_text = tokenizer.encode(name, false, false);
  EXPECT_GT(as_text.size(), 1u);
  EXPECT_EQ(tokenizer.decode(as_text, false), name);
  EXPECT_EQ(tokenizer.decode(Ids{1}, false), "");
  EXPECT_EQ(tokenizer.decode(Ids{1}, true), name);
  EXPECT_EQ(tokenizer.encode("", true, false), Ids{});
}

TEST(Tokenizer, UserDefinedAlwaysAndTheLongestFirst) {
  Vocabulary vocabulary = small_vocabulary("gpt-2");
  for (const char* token : {"<mi", "<mine>!"}) {
    vocabulary.tokens.emplace_back(token);
    vocabulary.types.push_back(TokenType::kUserDefined);
  }
  const Tokenizer tokenizer(vocabulary);
  const int32_t mine = tokenizer.find("<mine>");
  const int32_t longer = tokenizer.find("<mine>!");
  const int32_t shorter = tokenizer.find("<mi");
  for (const bool special : {false, true}) {
    EXPECT_EQ(tokenizer.encode("<mine>!<mine><mi", special, false), (Ids{longer, mine, shorter}));
    EXPECT_EQ(tokenizer.encode("<mi<mine>", special, false), (Ids{shorter, mine}));
  }
}

TEST(Tokenizer, BeginWithoutSuchATokenIsRefused) {
  Vocabulary vocabulary = small_vocabulary("gpt-2");
  vocabulary.bos = -1;
  EXPECT_THROW(Tokenizer(vocabulary).encode("a", false, true), Error);
}

TEST(Tokenizer, MergesFromTheLeftAndByRank) {
  const Tokenizer tokenizer(small_vocabulary("gpt-2"));
  const auto id = [&](const char* token) { return tokenizer.find(token); };
  EXPECT_EQ(tokenizer.encode("abc", false, false), Ids{id("abc")});
  EXPECT_EQ(tokenizer.encode("aaaaa", false, false), (Ids{id("aaaa"), id("a")}));
  EXPECT_EQ(tokenizer.encode("bbc", false, false), (Ids{id("b"), id("bc")}));
}

TEST(Tokenizer, AWordThatIsATokenStaysWholeWithLlama3) {
  for (const char* pre : {"llama-bpe", "qwen2", "gpt-2", "smollm"}) {
    Vocabulary vocabulary = small_vocabulary(pre);
    vocabulary.tokens.emplace_back("xyz");  // no merges lead there
    vocabulary.types.push_back(TokenType::kNormal);
    const size_t tokens = Tokenizer(vocabulary).encode("xyz", false, false).size();
    EXPECT_EQ(tokens, std::string(pre) == "llama-bpe" ? 1u : 3u) << pre;
  }
}

TEST(Tokenizer, SurrogatesKeepTheirBytes) {
  const Tokenizer tokenizer(smollm2_vocabulary());
  const std::string surrogate = "x\xED\xA0\x80y";
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(surrogate, false, false), false), surrogate);
}

// ---- Sentence pieces ----------------------------------------------------------------------------
TEST(SentencePieces, SpacePrefixComesAndGoes) {
  const Tokenizer tokenizer(fuzz::small_sentences());
  const auto id = [&](const char* token) { return tokenizer.find(token); };
  EXPECT_EQ(tokenizer.encode("ab", false, true), (Ids{0, id("▁ab")}));
  EXPECT_EQ(tokenizer.encode("<|begin|>ab", true, false), (Ids{0, id("▁ab")}));
  EXPECT_EQ(tokenizer.decode(Ids{id("▁ab"), id("▁a")}, false), "ab a");
  EXPECT_EQ(tokenizer.encode("\n", false, false), (Ids{id("▁"), id("<0x0A>")}));
}

/// The definition, word for word: the best pair of neighbours is joined, again and again.
Ids joined_by_definition(const Vocabulary& vocabulary, const std::string& line) {
  std::vector<std::string> parts;
  const std::string marked = std::string(kSpaceMark) + replaced(line, " ", kSpaceMark);
  for (size_t at = 0; at < marked.size(); at += parts.back().size())
    parts.push_back(marked.substr(at, utf8::character_size(std::string_view(marked).substr(at))));
  const auto id_of = [&](const std::string& token) {
    const auto found = std::find(vocabulary.tokens.begin(), vocabulary.tokens.end(), token);
    return static_cast<int32_t>(
        found == vocabulary.tokens.end() ? -1 : found - vocabulary.tokens.begin());
  };
  while (true) {
    size_t best = parts.size();
    float best_score = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const int32_t id = id_of(parts[i] + parts[i + 1]);
      if (id < 0 || (best < parts.size() && vocabulary.scores[id] <= best_score)) continue;
      best = i;
      best_score = vocabulary.scores[id];
    }
    if (best == parts.size()) break;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
  Ids ids;
  for (const std::string& part : parts) {
    if (id_of(part) >= 0) ids.push_back(id_of(part));
    for (size_t i = 0; id_of(part) < 0 && i < part.size(); ++i)
      ids.push_back(id_of(text("<0x%02X>", static_cast<unsigned char>(part[i]))));
  }
  return ids;
}

TEST(SentencePieces, AsByDefinition) {
  const Vocabulary vocabulary = fuzz::small_sentences();
  const Tokenizer tokenizer(vocabulary);
  constexpr const char* kParts[] = {"a", "b", " ", "é", "aa", "ü", "  ", "ab"};
  uint32_t state = 1;
  for (int round = 0; round < 500; ++round) {
    std::string line;
    for (int i = 0; i < 12; ++i) {
      state = state * 1664525 + 1013904223;
      line += kParts[state >> 29];
    }
    EXPECT_EQ(tokenizer.encode(line, false, false), joined_by_definition(vocabulary, line)) << line;
  }
}

// ---- Streams ------------------------------------------------------------------------------------
TEST(StreamDecoder, OnlyWholeCharactersComeOut) {
  const Tokenizer tokenizer(small_vocabulary("gpt-2"));
  const std::string line = "a😀é\xFF\xE2\x82z\xF0\x9F";
  StreamDecoder stream(tokenizer, false, true);
  std::vector<std::string> pieces;
  for (const int32_t id : tokenizer.encode(line, false, false)) pieces.push_back(stream.put(id));
  const std::vector<std::string> expected = {"a",    "", "", "",          "😀", "é",
                                             "\xFF", "", "", "\xE2\x82z", "",  ""};
  EXPECT_EQ(pieces, expected);
  EXPECT_EQ(stream.flush(), "\xF0\x9F");
  EXPECT_EQ(stream.flush(), "");
}

TEST(StreamDecoder, GoesOnAfterAPrompt) {
  const Tokenizer tokenizer(fuzz::small_sentences());
  const int32_t word = tokenizer.find("▁ab");
  EXPECT_EQ(StreamDecoder(tokenizer, false, true).put(word), " ab");
  EXPECT_EQ(StreamDecoder(tokenizer, false, false).put(word), "ab");
}

TEST(Tokenizer, IdsOutOfRangeAreRefused) {
  const Tokenizer tokenizer(small_vocabulary("gpt-2"));
  const auto size = static_cast<int32_t>(tokenizer.vocabulary().tokens.size());
  for (const int32_t id : {-1, size, INT32_MIN, INT32_MAX}) {
    EXPECT_THROW(tokenizer.decode(Ids{id}, true), Error);
    EXPECT_THROW(tokenizer.piece(id), Error);
  }
}

// ---- Long texts ---------------------------------------------------------------------------------
TEST(Tokenizer, LongTextsWithoutASpaceTakeNLogN) {
  constexpr size_t kBytes = 1 << 18;
  std::string letters;
  for (uint32_t state = 1; letters.size() < kBytes;) {
    state = state * 1664525 + 1013904223;
    letters += static_cast<char>('a' + (state >> 24) % 26);
  }
  const Tokenizer tokenizers[] = {Tokenizer(smollm2_vocabulary()),
                                  Tokenizer(sentence_vocabulary(true))};
  for (const Tokenizer& tokenizer : tokenizers)
    for (const std::string& line : {letters, std::string(kBytes, ' '), std::string(kBytes, 'a'),
                                    std::string(kBytes, '\xFF'), std::string(kBytes, '\n')}) {
      const auto start = std::chrono::steady_clock::now();
      const Ids ids = tokenizer.encode(line, true, false);
      // Quadratic would be many minutes.
      EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
      if (line[0] != '\xFF') {
        EXPECT_EQ(tokenizer.decode(ids, false), line);
      }
    }
}

// ---- Vocabularies that nobody should make -------------------------------------------------------
std::string refusal(const Vocabulary& vocabulary) {
  try {
    const Tokenizer tokenizer(vocabulary);
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), TW_ERROR_INVALID_ARGUMENT);
    return error.what();
  }
  return "taken";
}

TEST(Vocabulary, ContradictionsAreRefused) {
  const Vocabulary good = small_vocabulary("gpt-2");
  const Vocabulary sentences = fuzz::small_sentences();
  const auto changed = [](Vocabulary vocabulary, const auto& change) {
    change(vocabulary);
    return refusal(vocabulary);
  };
  EXPECT_EQ(refusal(good), "taken");
  EXPECT_EQ(refusal(sentences), "taken");
  EXPECT_EQ(changed(good, [](Vocabulary& v) { v.model = "bert"; }),
            "tokenizer model \"bert\" is unknown; valid: gpt2, llama");
  EXPECT_EQ(changed(good, [](Vocabulary& v) { v.pre = ""; }),
            "pre-tokenizer \"\" is unknown; valid: gpt-2, smollm, llama-bpe, qwen2");
  EXPECT_EQ(changed(good, [](Vocabulary& v) { v.bos = 5000; }),
            "token bos = 5000; valid: 0 to 267, or -1 for none");
  EXPECT_EQ(changed(good, [](Vocabulary& v) { v.eot = -2; }),
            "token eot = -2; valid: 0 to 267, or -1 for none");
  EXPECT_EQ(changed(good, [](Vocabulary& v) { v.types.pop_back(); }),
            "267 types for 268 tokens; valid: one a token, or none");
  EXPECT_EQ(changed(good, [](Vocabulary& v) { v.tokens.clear(); }),
            "a vocabulary of 0 tokens; valid: 1 to 2147483647");
  for (const char* merge : {"ab", "", " ", "a ", " a"})
    EXPECT_EQ(changed(good, [&](Vocabulary& v) { v.merges.emplace_back(merge); }),
              text("merge 9 \"%s\" is not two parts with a space between", merge));
  EXPECT_EQ(changed(sentences, [](Vocabulary& v) { v.scores.pop_back(); }),
            "267 scores for 268 tokens; valid: one a token");
  EXPECT_EQ(changed(sentences, [](Vocabulary& v) { v.scores[7] = NAN; }),
            "the score of token 7 is not a number");
}

TEST(Vocabulary, OddOnesAreUsedAsFarAsTheyGo) {
  // Duplicates, an empty token, letters outside the alphabet, types and merges of nothing.
  Vocabulary odd = small_vocabulary("gpt-2");
  for (const char* token : {"abc", "", "漢字", "\xFF"}) odd.tokens.emplace_back(token);
  odd.types.resize(odd.tokens.size(), static_cast<TokenType>(99));
  for (const char* merge : {"漢 字", "x y", "xy z", "a b"}) odd.merges.emplace_back(merge);
  const Tokenizer tokenizer(odd);
  EXPECT_EQ(tokenizer.encode("abc", true, false), Ids{tokenizer.find("abc")});
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("xyz 漢字\xFF", true, false), true), "xyz 漢字\xFF");
  EXPECT_EQ(tokenizer.piece(static_cast<int32_t>(odd.tokens.size()) - 2), "漢字");
}

TEST(Vocabulary, MissingBytesAreLeftOutOrUnknown) {
  Vocabulary no_bytes;
  no_bytes.model = "gpt2";
  no_bytes.pre = "gpt-2";
  no_bytes.tokens = {"a"};
  EXPECT_EQ(Tokenizer(no_bytes).encode("xa\xFFz", true, false), Ids{0});
  Vocabulary no_pieces;
  no_pieces.model = "llama";
  no_pieces.tokens = {"<unk>", "a"};
  no_pieces.types = {TokenType::kUnknown, TokenType::kNormal};
  no_pieces.scores = {0, 0};
  EXPECT_EQ(Tokenizer(no_pieces).encode("xa", true, false), Ids{1});
  no_pieces.unknown = 0;
  EXPECT_EQ(Tokenizer(no_pieces).encode("éa", true, false), (Ids{0, 1}));
}

TEST(Tokenizer, SeedsOfTheFuzzTargetAreAccepted) {
  int seeds = 0;
  for (const auto& entry : std::filesystem::directory_iterator("tests/fuzz/seeds/tokenizer")) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    EXPECT_TRUE(fuzz::run_tokenizer_input(bytes)) << entry.path();
    ++seeds;
  }
  EXPECT_GE(seeds, 5);
}

}  // namespace
}  // namespace tw
