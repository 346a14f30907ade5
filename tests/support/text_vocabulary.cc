#include "tests/support/text_vocabulary.h"

#include <fstream>
#include <set>

#include "lib/base/error.h"
#include "lib/text/byte_alphabet.h"
#include "lib/text/token_model.h"
#include "lib/text/utf8.h"

namespace tw {
namespace {

constexpr const char* kFile = "tests/fixtures/text/smollm2.vocabulary";
constexpr int kTokensOfSentences = 12000;

void add(Vocabulary& vocabulary, const std::string& token, TokenType type, float score = 0) {
  vocabulary.tokens.push_back(token);
  vocabulary.types.push_back(type);
  vocabulary.scores.push_back(score);
}

bool is_text(const std::string& bytes) {
  for (size_t at = 0; at < bytes.size();) {
    const size_t size = utf8::character_size(std::string_view(bytes).substr(at));
    if (size == 0) return false;
    at += size;
  }
  return true;
}

bool has_inner_space(const std::string& text) {
  const size_t word = text.find_first_not_of(' ');
  return word != std::string::npos && text.find(' ', word) != std::string::npos;
}

std::string joined(const std::string& merge) {
  const size_t space = merge.find(' ');
  return merge.substr(0, space) + merge.substr(space + 1);
}

/// Reads a heading with a number and as many lines, each into `line`; then calls `take`.
template <class Take>
void read_section(std::ifstream& file, const std::string& name, const Take& take,
                  std::string& line) {
  std::string heading;
  int count = 0;
  file >> heading >> count;
  std::getline(file, line);
  if (heading != name) fail(TW_ERROR_SYSTEM, "%s has no section %s", kFile, name.c_str());
  for (; count > 0 && std::getline(file, line); --count) take();
}

}  // namespace

Vocabulary smollm2_vocabulary(const char* pre) {
  Vocabulary vocabulary;
  vocabulary.model = "gpt2";
  vocabulary.pre = pre;
  vocabulary.bos = 1;
  vocabulary.eos = 2;
  vocabulary.unknown = 0;
  vocabulary.padding = 2;
  std::ifstream file(kFile);
  if (!file) fail(TW_ERROR_SYSTEM, "%s cannot be read (tests run in the root folder)", kFile);
  std::string line;
  std::getline(file, line);  // where it comes from
  read_section(
      file, "special", [&] { add(vocabulary, line, TokenType::kControl); }, line);
  read_section(
      file, "bytes", [&] { add(vocabulary, line, TokenType::kNormal); }, line);
  read_section(
      file, "merges",
      [&] {
        vocabulary.merges.push_back(line);
        add(vocabulary, joined(line), TokenType::kNormal);
      },
      line);
  vocabulary.scores.clear();
  return vocabulary;
}

Vocabulary sentence_vocabulary(bool inner_spaces) {
  const Vocabulary source = smollm2_vocabulary();
  Vocabulary vocabulary;
  vocabulary.model = "llama";
  vocabulary.pre = "default";
  vocabulary.unknown = 0;
  vocabulary.bos = 1;
  vocabulary.eos = 2;
  vocabulary.add_bos = true;
  vocabulary.add_space_prefix = true;
  add(vocabulary, "<unk>", TokenType::kUnknown);
  add(vocabulary, "<s>", TokenType::kControl);
  add(vocabulary, "</s>", TokenType::kControl);
  for (int byte = 0; byte < 256; ++byte) add(vocabulary, text("<0x%02X>", byte), TokenType::kByte);
  add(vocabulary, "<extra>", TokenType::kUserDefined);
  std::set<std::string> taken(vocabulary.tokens.begin(), vocabulary.tokens.end());
  for (int id = 0; id < kTokensOfSentences; ++id) {
    if (source.types[id] != TokenType::kNormal) continue;
    const std::string bytes = bytes_of_letters(source.tokens[id]).value_or("");
    // llama.cpp reads tokens as C strings, so none may hold a NUL.
    if (bytes.empty() || bytes.find('\0') != std::string::npos || !is_text(bytes) ||
        (has_inner_space(bytes) && !inner_spaces))
      continue;
    const std::string token = replaced(bytes, " ", kSpaceMark);
    // Pairs of equal scores: the leftmost is joined first.
    const int rank = id / 2;
    if (taken.insert(token).second)
      add(vocabulary, token, TokenType::kNormal, -static_cast<float>(rank));
  }
  return vocabulary;
}

Vocabulary small_vocabulary(const char* pre) {
  Vocabulary vocabulary;
  vocabulary.model = "gpt2";
  vocabulary.pre = pre;
  vocabulary.bos = 0;
  vocabulary.eos = 1;
  add(vocabulary, "<|begin|>", TokenType::kControl);
  add(vocabulary, "<|end|>", TokenType::kControl);
  add(vocabulary, "<mine>", TokenType::kUserDefined);
  for (int byte = 0; byte < 256; ++byte)
    add(vocabulary, letter_of_byte(static_cast<unsigned char>(byte)), TokenType::kNormal);
  for (const char* merge : {"a b", "b c", "ab c", "Ġ a", "a a", "aa aa", "Ġ Ġ", "Ã ©", "Ċ Ċ"}) {
    vocabulary.merges.emplace_back(merge);
    add(vocabulary, joined(merge), TokenType::kNormal);
  }
  vocabulary.scores.clear();
  return vocabulary;
}

}  // namespace tw
