#include "lib/text/tokenizer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/base/error.h"
#include "lib/text/byte_alphabet.h"
#include "lib/text/utf8.h"

namespace tw {
namespace {

void check_sizes(const Vocabulary& v) {
  const size_t tokens = v.tokens.size();
  if (tokens == 0 || tokens > INT32_MAX)
    fail(TW_ERROR_INVALID_ARGUMENT, "a vocabulary of %zu tokens; valid: 1 to %d", tokens,
         INT32_MAX);
  if (!v.types.empty() && v.types.size() != tokens)
    fail(TW_ERROR_INVALID_ARGUMENT, "%zu types for %zu tokens; valid: one a token, or none",
         v.types.size(), tokens);
  if (v.merges.size() > INT32_MAX / 4)
    fail(TW_ERROR_INVALID_ARGUMENT, "a vocabulary of %zu merges; valid: up to %d", v.merges.size(),
         INT32_MAX / 4);
}

void check_ids(const Vocabulary& v) {
  const struct {
    const char* name;
    int64_t id;
  } named[] = {{"bos", v.bos},
               {"eos", v.eos},
               {"eot", v.eot},
               {"unknown", v.unknown},
               {"padding", v.padding}};
  for (const auto& [name, id] : named)
    if (id < -1 || id >= static_cast<int64_t>(v.tokens.size()))
      fail(TW_ERROR_INVALID_ARGUMENT, "token %s = %lld; valid: 0 to %zu, or -1 for none", name,
           static_cast<long long>(id), v.tokens.size() - 1);
}

TokenType type_of(const Vocabulary& v, size_t id) {
  return v.types.empty() ? TokenType::kNormal : v.types[id];
}

bool is_named(TokenType type) {
  return type == TokenType::kUnknown || type == TokenType::kControl ||
         type == TokenType::kUserDefined;
}

std::unique_ptr<const TokenModel> make_model(const Vocabulary& v) {
  if (v.model == "gpt2") return make_byte_pairs(v);
  if (v.model == "llama") return make_sentence_pieces(v);
  fail(TW_ERROR_INVALID_ARGUMENT, "tokenizer model \"%s\" is unknown; valid: gpt2, llama",
       v.model.c_str());
}

std::string piece_of(const Vocabulary& v, size_t id) {
  const std::string& token = v.tokens[id];
  const TokenType type = type_of(v, id);
  if (is_named(type)) return token;
  const int byte = type == TokenType::kByte ? byte_of_text(token) : -1;
  if (byte >= 0) return {static_cast<char>(byte)};
  if (v.model == "llama") return replaced(token, kSpaceMark, " ");
  return bytes_of_letters(token).value_or(token);
}

}  // namespace

Tokenizer::Tokenizer(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {
  check_sizes(vocabulary_);
  check_ids(vocabulary_);
  model_ = make_model(vocabulary_);
  pieces_.reserve(vocabulary_.tokens.size());
  for (size_t id = 0; id < vocabulary_.tokens.size(); ++id) {
    pieces_.push_back(piece_of(vocabulary_, id));
    if (is_named(type_of(vocabulary_, id)) && !pieces_.back().empty())
      special_.push_back(static_cast<int32_t>(id));
  }
  std::stable_sort(special_.begin(), special_.end(),
                   [&](int32_t a, int32_t b) { return pieces_[a].size() > pieces_[b].size(); });
}

std::vector<Tokenizer::Part> Tokenizer::find_special(std::string_view text, bool special) const {
  std::vector<Part> parts{{0, text.size(), -1}};
  for (const int32_t id : special_) {
    if (!special && type(id) != TokenType::kUserDefined) continue;
    const std::string& name = pieces_[id];
    const auto find_from = [&](size_t from, size_t end) {
      const void* const found = memmem(text.data() + from, end - from, name.data(), name.size());
      return found == nullptr ? end
                              : static_cast<size_t>(static_cast<const char*>(found) - text.data());
    };
    if (find_from(0, text.size()) == text.size()) continue;
    std::vector<Part> cut;
    for (const Part& part : parts) {
      const size_t end = part.begin + part.size;
      size_t at = part.begin;
      for (size_t found = 0; part.token < 0 && (found = find_from(at, end)) != end;
           at = found + name.size()) {
        if (found > at) cut.push_back({at, found - at, -1});
        cut.push_back({found, name.size(), id});
      }
      if (at < end) cut.push_back({at, end - at, part.token});
    }
    parts = std::move(cut);
  }
  return parts;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool special, bool add_bos) const {
  if (text.size() > INT32_MAX)
    fail(TW_ERROR_INVALID_ARGUMENT, "a text of %zu bytes is too long; valid: up to %d", text.size(),
         INT32_MAX);
  std::vector<int32_t> ids;
  if (add_bos) {
    if (vocabulary_.bos < 0)
      fail(TW_ERROR_INVALID_ARGUMENT, "the vocabulary has no token for the beginning of a text");
    ids.push_back(static_cast<int32_t>(vocabulary_.bos));
  }
  if (text.empty()) return ids;
  for (const Part& part : find_special(text, special)) {
    if (part.token >= 0)
      ids.push_back(part.token);
    else
      model_->encode(text.substr(part.begin, part.size), ids);
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool special) const {
  StreamDecoder decoder(*this, special, false);
  std::string text;
  for (const int32_t id : ids) text += decoder.put(id);
  return text + decoder.flush();
}

std::string_view Tokenizer::piece(int32_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= pieces_.size())
    fail(TW_ERROR_INVALID_ARGUMENT, "token %d; valid: 0 to %zu", id, pieces_.size() - 1);
  return pieces_[id];
}

TokenType Tokenizer::type(int32_t id) const {
  piece(id);
  return type_of(vocabulary_, id);
}

int32_t Tokenizer::find(std::string_view token) const {
  const auto& tokens = vocabulary_.tokens;
  const auto found = std::find(tokens.begin(), tokens.end(), token);
  return found == tokens.end() ? -1 : static_cast<int32_t>(found - tokens.begin());
}

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool special, bool continues)
    : tokenizer_(tokenizer),
      special_(special),
      drop_space_(!continues && tokenizer.vocabulary().add_space_prefix &&
                  tokenizer.vocabulary().model == "llama") {}

std::string StreamDecoder::put(int32_t id) {
  std::string_view piece = tokenizer_.piece(id);
  const TokenType type = tokenizer_.type(id);
  if (drop_space_ && !is_named(type) && piece.starts_with(' ')) piece.remove_prefix(1);
  // encode() puts a space behind each special token, too.
  drop_space_ = is_named(type) && tokenizer_.vocabulary().add_space_prefix &&
                tokenizer_.vocabulary().model == "llama";
  if (!special_ && (type == TokenType::kControl || type == TokenType::kUnknown)) return {};
  held_ += piece;
  std::string ready = held_.substr(0, held_.size() - utf8::unfinished_size(held_));
  held_.erase(0, ready.size());
  return ready;
}

std::string StreamDecoder::flush() { return std::exchange(held_, {}); }

}  // namespace tw
