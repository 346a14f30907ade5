// Where characters end in UTF-8 that may be invalid.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace tw::utf8 {

/// Bytes that a character takes whose first byte is `lead`, 0 when no character begins with it.
constexpr size_t announced_size(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xC2) return 0;
  if (lead < 0xE0) return 2;
  if (lead < 0xF0) return 3;
  return lead < 0xF5 ? 4 : 0;
}

/// Whether `second` may follow `lead`: neither overlong nor a surrogate nor above U+10FFFF.
constexpr bool may_follow(unsigned char lead, unsigned char second) {
  const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  return second >= low && second <= high;
}

/// How many of the first bytes of `text` (not empty) are those of one well-formed character: its
/// size, or fewer when what follows does not belong to it or the text ends; 0 when no character
/// begins so.
constexpr size_t matched_size(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const size_t size = std::min(announced_size(byte(0)), text.size());
  if (size < 2) return size;
  if (!may_follow(byte(0), byte(1))) return 1;
  size_t matched = 2;
  while (matched < size && (byte(matched) & 0xC0) == 0x80) ++matched;
  return matched;
}

/// Bytes of the well-formed character at the beginning of `text` (not empty), 0 when there is none.
constexpr size_t character_size(std::string_view text) {
  const size_t matched = matched_size(text);
  return matched == announced_size(static_cast<unsigned char>(text[0])) ? matched : 0;
}

/// Bytes at the end of `text` that are the beginning of a character: 0 to 3.
constexpr size_t unfinished_size(std::string_view text) {
  for (size_t size = 1; size <= std::min<size_t>(3, text.size()); ++size) {
    const std::string_view end = text.substr(text.size() - size);
    if ((static_cast<unsigned char>(end[0]) & 0xC0) == 0x80) continue;
    const bool all = matched_size(end) == size;
    return all && announced_size(static_cast<unsigned char>(end[0])) > size ? size : 0;
  }
  return 0;
}

}  // namespace tw::utf8
