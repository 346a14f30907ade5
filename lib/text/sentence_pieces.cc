// SentencePiece's BPE as of Llama 2: characters, joined wherever the result is a token, that of the
// highest score first; what is no token is spelled in byte tokens.
#include <array>
#include <cmath>

#include "lib/base/error.h"
#include "lib/text/merge.h"
#include "lib/text/token_model.h"
#include "lib/text/utf8.h"

namespace tw {
namespace {

class SentencePieces : public TokenModel {
 public:
  explicit SentencePieces(const Vocabulary& vocabulary);
  void encode(std::string_view text, std::vector<int32_t>& ids) const override;

 private:
  struct Scratch {
    std::vector<MergeSymbol> symbols;
    std::vector<MergeCandidate<float>> heap;
  };

  int32_t token_of(std::string_view text) const;
  size_t end_of_word(std::string_view text, size_t begin) const;
  void encode_word(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const;
  void spell(std::string_view symbol, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary_;
  std::unordered_map<std::string_view, int32_t> tokens_;
  std::array<int32_t, 256> byte_tokens_;  // -1: none
  size_t longest_ = 0;
  bool words_ = true;  // no token goes on over the space before a word
};

/// Whether a space stands behind something else than spaces.
bool has_inner_space(std::string_view token) {
  while (token.starts_with(kSpaceMark)) token.remove_prefix(kSpaceMark.size());
  return token.find(kSpaceMark) != std::string_view::npos;
}

SentencePieces::SentencePieces(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {
  if (vocabulary.scores.size() != vocabulary.tokens.size())
    fail(TW_ERROR_INVALID_ARGUMENT, "%zu scores for %zu tokens; valid: one a token",
         vocabulary.scores.size(), vocabulary.tokens.size());
  byte_tokens_.fill(-1);
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string_view token = vocabulary.tokens[id];
    if (std::isnan(vocabulary.scores[id]))
      fail(TW_ERROR_INVALID_ARGUMENT, "the score of token %zu is not a number", id);
    if (token.empty()) continue;
    // Of equal tokens the first is used; the others can only be decoded.
    tokens_.try_emplace(token, static_cast<int32_t>(id));
    longest_ = std::max(longest_, token.size());
    words_ = words_ && !has_inner_space(token);
  }
  for (const auto& [token, id] : tokens_) {
    const int byte = byte_of_text(token);
    if (byte >= 0) byte_tokens_[byte] = id;
  }
}

int32_t SentencePieces::token_of(std::string_view text) const {
  const auto found = tokens_.find(text);
  return found == tokens_.end() ? -1 : found->second;
}

/// Where the text may be cut without changing its tokens: before the spaces of the next word, if no
/// token goes on over such a place, else only at the end.
size_t SentencePieces::end_of_word(std::string_view text, size_t begin) const {
  if (!words_) return text.size();
  while (text.substr(begin).starts_with(kSpaceMark)) begin += kSpaceMark.size();
  return std::min(text.find(kSpaceMark, begin), text.size());
}

void SentencePieces::encode(std::string_view text, std::vector<int32_t>& ids) const {
  std::string marked = vocabulary_.add_space_prefix ? std::string(kSpaceMark) : "";
  marked += replaced(text, " ", kSpaceMark);
  if (marked.size() > INT32_MAX)
    fail(TW_ERROR_INVALID_ARGUMENT, "a text of %zu bytes is too long; valid: up to %d", text.size(),
         INT32_MAX / 3);
  Scratch scratch;
  WordCache met;
  const std::string_view all = marked;
  for (size_t at = 0; at < all.size();) {
    const size_t end = end_of_word(all, at);
    const std::string_view word = all.substr(at, end - at);
    at = end;
    if (met.repeat(word, ids)) continue;
    const size_t begin = ids.size();
    encode_word(word, scratch, ids);
    met.keep(word, begin, ids);
  }
}

void SentencePieces::encode_word(std::string_view word, Scratch& scratch,
                                 std::vector<int32_t>& ids) const {
  scratch.symbols.clear();
  for (size_t at = 0; at < word.size();) {
    const size_t size = std::max<size_t>(1, utf8::character_size(word.substr(at)));
    const auto number = static_cast<int32_t>(scratch.symbols.size());
    scratch.symbols.push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(size),
                               token_of(word.substr(at, size)), number - 1, number + 1});
    at += size;
  }
  scratch.symbols.back().next = -1;
  merge_symbols(
      scratch.symbols, scratch.heap,
      [&](const MergeSymbol& left, const MergeSymbol& right) -> std::optional<Merged<float>> {
        const size_t size = size_t{left.size} + right.size;
        if (size > longest_) return std::nullopt;
        const int32_t id = token_of(word.substr(left.begin, size));
        if (id < 0) return std::nullopt;
        return Merged<float>{-vocabulary_.scores[id], id};
      });
  for (const MergeSymbol& symbol : scratch.symbols) {
    if (symbol.size == 0) continue;
    if (symbol.id >= 0)
      ids.push_back(symbol.id);
    else
      spell(word.substr(symbol.begin, symbol.size), ids);
  }
}

/// Byte tokens, or the unknown token where one of them is missing.
void SentencePieces::spell(std::string_view symbol, std::vector<int32_t>& ids) const {
  const size_t begin = ids.size();
  for (const char byte : symbol) {
    const int32_t id = byte_tokens_[static_cast<unsigned char>(byte)];
    if (id < 0) {
      ids.resize(begin);
      if (vocabulary_.unknown >= 0) ids.push_back(static_cast<int32_t>(vocabulary_.unknown));
      return;
    }
    ids.push_back(id);
  }
}

}  // namespace

std::unique_ptr<const TokenModel> make_sentence_pieces(const Vocabulary& vocabulary) {
  return std::make_unique<const SentencePieces>(vocabulary);
}

}  // namespace tw
