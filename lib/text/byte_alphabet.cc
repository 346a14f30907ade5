#include "lib/text/byte_alphabet.h"

#include <array>

#include "lib/text/utf8.h"

namespace tw {
namespace {

// GPT-2's encoder.py (bytes_to_unicode): printable characters of Latin-1 are themselves, the other
// bytes are, in their order, the code points from 256 on.
constexpr bool is_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr unsigned kLetters = 256 + 68;

struct Alphabet {
  std::array<unsigned, 256> letter{};
  std::array<int, kLetters> byte{};
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  alphabet.byte.fill(-1);
  unsigned next = 256;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const unsigned letter = is_itself(byte) ? byte : next++;
    alphabet.letter[byte] = letter;
    alphabet.byte[letter] = static_cast<int>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

std::optional<std::string> bytes_of_letters(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t size = utf8::character_size(text.substr(at));
    if (size == 0 || size > 2) return std::nullopt;
    const auto lead = static_cast<unsigned char>(text[at]);
    const unsigned letter =
        size == 1 ? lead : (lead & 0x1Fu) << 6 | (static_cast<unsigned char>(text[at + 1]) & 0x3Fu);
    if (letter >= kLetters || kAlphabet.byte[letter] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kAlphabet.byte[letter]));
    at += size;
  }
  return bytes;
}

std::string letter_of_byte(unsigned char byte) {
  const unsigned letter = kAlphabet.letter[byte];
  if (letter < 0x80) return {static_cast<char>(letter)};
  return {static_cast<char>(0xC0 | letter >> 6), static_cast<char>(0x80 | (letter & 0x3F))};
}

}  // namespace tw
