// 20,000 lines to encode, the same in the tests and for the program that made their expectations.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace tw {

constexpr int kTextLines = 20000;
// How many lines have one hash in the expectations, and which line's ids are there in full.
constexpr int kLinesOfHash = 16;
constexpr int kFullEvery = 100;

/// Words, code, digits, scripts, emoji, combining marks, contractions, spaces, control characters,
/// special tokens and what looks like them, invalid UTF-8, all mixed. The same on every machine.
std::vector<std::string> text_lines();

/// Whether special tokens are looked for in that line.
constexpr bool special_in_line(int line) { return line % 2 == 0; }

/// U+FFFD for each byte that is not part of a well-formed character.
std::string with_replacements(const std::string& line);

/// FNV-1a over the ids of consecutive lines.
class IdsHash {
 public:
  void add(std::span<const int32_t> ids);
  uint64_t value() const { return value_; }

 private:
  void add_word(uint32_t word);
  uint64_t value_ = 0xCBF29CE484222325u;
};

}  // namespace tw
