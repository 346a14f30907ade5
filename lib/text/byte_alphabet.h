// Byte-level BPE writes its tokens in an alphabet of 256 printable characters, one for each byte.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tw {

/// The bytes that a token's text stands for; nothing when a character is not of the alphabet.
std::optional<std::string> bytes_of_letters(std::string_view text);

/// The letter for a byte, in UTF-8.
std::string letter_of_byte(unsigned char byte);

}  // namespace tw
