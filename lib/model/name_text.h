// Names from files, made fit for a sentence.
#pragma once

#include <string>
#include <string_view>

namespace tw {

/// `name` in quotes: printable ASCII as it is, other bytes as \xNN, at most 80 characters of it.
std::string name_text(std::string_view name);

/// "[3, 64]": a shape as its file has it.
template <class List>
std::string shape_text(const List& shape) {
  std::string text = "[";
  for (const auto dim : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(dim);
  return text + "]";
}

}  // namespace tw
