#include "lib/vgpu/ptx/lexer.h"

#include <cctype>
#include <charconv>

#include "lib/vgpu/ptx/error.h"

namespace tw::vgpu::ptx {
namespace {

bool begins_word(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%' ||
         c == '.';
}

bool in_word(char c) { return begins_word(c) || std::isdigit(static_cast<unsigned char>(c)); }

}  // namespace

void Lexer::skip_blank() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    const char after = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
    if (c == '\n') ++line_;
    if (std::isspace(static_cast<unsigned char>(c))) {
      ++at_;
    } else if (c == '/' && after == '/') {
      while (at_ < text_.size() && text_[at_] != '\n') ++at_;
    } else if (c == '/' && after == '*') {
      const size_t end = text_.find("*/", at_ + 2);
      if (end == std::string_view::npos) throw Error(line_, "a comment that begins here has no */");
      for (; at_ < end; ++at_) line_ += text_[at_] == '\n';
      at_ = end + 2;
    } else {
      return;
    }
  }
}

Token Lexer::word() {
  const size_t begin = at_;
  while (at_ < text_.size()) {
    // A single colon ends a label, a double one is part of a modifier (shared::cta).
    if (text_.substr(at_, 2) == "::")
      at_ += 2;
    else if (in_word(text_[at_]))
      ++at_;
    else
      break;
  }
  return {Token::Kind::kWord, text_.substr(begin, at_ - begin), 0, line_};
}

Token Lexer::number() {
  const size_t begin = at_;
  while (at_ < text_.size() && std::isalnum(static_cast<unsigned char>(text_[at_]))) ++at_;
  Token token{Token::Kind::kInteger, text_.substr(begin, at_ - begin), 0, line_};
  std::string_view digits = token.text;
  int base = 10;
  const char mark = digits.size() > 1 && digits[0] == '0' ? digits[1] : '\0';
  const bool is_float = (mark == 'f' || mark == 'F') && digits.size() == 10;
  const bool is_double = (mark == 'd' || mark == 'D') && digits.size() == 18;
  if (is_float || is_double) {
    token.kind = is_float ? Token::Kind::kFloat : Token::Kind::kDouble;
    base = 16;
  } else if (mark == 'x' || mark == 'X') {
    base = 16;
  } else if (mark == 'b' || mark == 'B') {
    base = 2;
  }
  if (base != 10)
    digits.remove_prefix(2);
  else if (digits.size() > 1 && digits[0] == '0')
    base = 8;
  if (!digits.empty() && (digits.back() == 'U' || digits.back() == 'u')) digits.remove_suffix(1);
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), token.bits, base);
  if (error != std::errc() || end != digits.data() + digits.size())
    throw Error(line_, "'" + std::string(token.text) + "' is no number of at most 64 bits");
  return token;
}

Token Lexer::string() {
  const size_t end = text_.find('"', at_ + 1);
  if (end == std::string_view::npos) throw Error(line_, "a string that begins here has no end");
  Token token{Token::Kind::kString, text_.substr(at_ + 1, end - at_ - 1), 0, line_};
  at_ = end + 1;
  return token;
}

Token Lexer::next() {
  skip_blank();
  if (at_ >= text_.size()) return {Token::Kind::kEnd, {}, 0, line_};
  const char c = text_[at_];
  if (begins_word(c)) return word();
  if (std::isdigit(static_cast<unsigned char>(c))) return number();
  if (c == '"') return string();
  if (std::string_view("{}[]()<>,;:@!|+-=&*/?").find(c) == std::string_view::npos)
    throw Error(line_, std::string("the character '") + c + "' has no meaning in PTX");
  return {Token::Kind::kMark, text_.substr(at_++, 1), 0, line_};
}

std::string shown(const Token& token) {
  return token.kind == Token::Kind::kEnd ? "the end of the text"
                                         : "'" + std::string(token.text) + "'";
}

}  // namespace tw::vgpu::ptx
