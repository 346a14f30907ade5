// A token at a time, with what parsers ask of it.
#pragma once

#include <string>

#include "lib/vgpu/ptx/error.h"
#include "lib/vgpu/ptx/lexer.h"

namespace tw::vgpu::ptx {

class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text), lexer_(text) { token_ = lexer_.next(); }

  const Token& token() const { return token_; }
  int line() const { return token_.line; }
  bool at_end() const { return token_.kind == Token::Kind::kEnd; }

  Token take() {
    const Token taken = token_;
    end_ = token_.text.data() + token_.text.size();
    token_ = lexer_.next();
    return taken;
  }
  template <class T>
  bool take_if(T what) {
    if (!token_.is(what)) return false;
    take();
    return true;
  }
  void expect(char mark) {
    if (!take_if(mark)) fail(std::string("expected '") + mark + "'");
  }
  std::string_view expect_word(const char* what) {
    if (token_.kind != Token::Kind::kWord) fail(std::string("expected ") + what);
    return take().text;
  }
  uint64_t expect_integer(const char* what) {
    if (token_.kind != Token::Kind::kInteger) fail(std::string("expected ") + what);
    return take().bits;
  }
  /// Skips the rest of the line that `first` stands in.
  void skip_line(int first) {
    while (!at_end() && token_.line == first) take();
  }
  /// The text from `begin` to the end of the last token taken.
  std::string_view text_from(const char* begin) const {
    return {begin, static_cast<size_t>(end_ - begin)};
  }
  [[noreturn]] void fail(const std::string& sentence) const {
    throw Error(token_.line, sentence + ", found " + shown(token_));
  }

 private:
  std::string_view text_;
  Lexer lexer_;
  Token token_;
  const char* end_ = nullptr;
};

}  // namespace tw::vgpu::ptx
