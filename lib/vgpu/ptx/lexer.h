// PTX text into tokens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tw::vgpu::ptx {

struct Token {
  enum class Kind : uint8_t {
    kEnd,
    kWord,     // a name, a register, a directive or an opcode with its modifiers
    kInteger,  // bits: the value
    kFloat,    // bits: of 0fXXXXXXXX
    kDouble,   // bits: of 0dXXXXXXXXXXXXXXXX
    kString,   // text without the quotes
    kMark,     // one character
  };
  Kind kind = Kind::kEnd;
  std::string_view text;
  uint64_t bits = 0;
  int line = 0;

  bool is(char mark) const { return kind == Kind::kMark && text[0] == mark; }
  bool is(std::string_view word) const { return kind == Kind::kWord && text == word; }
};

/// Reads tokens of `text`, which outlives them. Comments and line ends separate tokens.
class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  /// The next token; kEnd for ever at the end. Throws Error for what is no token.
  Token next();

 private:
  void skip_blank();
  Token word();
  Token number();
  Token string();

  std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
};

/// The token for a message: its text, or "the end of the text".
std::string shown(const Token& token);

}  // namespace tw::vgpu::ptx
