#include "lib/text/token_model.h"

#include <algorithm>

namespace tw {
namespace {

/// -1 when `digit` is no upper-case hexadecimal digit.
int value_of(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

}  // namespace

int byte_of_text(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  const int high = value_of(text[3]);
  const int low = value_of(text[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  result.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t found = std::min(text.find(from, at), text.size());
    result += text.substr(at, found - at);
    if (found < text.size()) result += to;
    at = found + from.size();
  }
  return result;
}

bool WordCache::repeat(std::string_view word, std::vector<int32_t>& ids) const {
  if (word.size() > kLongest) return false;
  const auto found = places_.find(word);
  if (found == places_.end()) return false;
  const auto [begin, count] = found->second;
  for (size_t i = begin; i < begin + count; ++i) ids.push_back(ids[i]);
  return true;
}

void WordCache::keep(std::string_view word, size_t begin, const std::vector<int32_t>& ids) {
  if (word.size() <= kLongest && places_.size() < kMost)
    places_.try_emplace(word, Place{begin, ids.size() - begin});
}

}  // namespace tw
