#include "lib/model/name_text.h"

#include "lib/base/error.h"

namespace tw {

std::string name_text(std::string_view name) {
  constexpr size_t kShown = 80;
  std::string result = "\"";
  for (const char c : name.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte > 0x7e)
      result += text("\\x%02x", byte);
    else
      result += c;
  }
  return result + (name.size() > kShown ? "...\"" : "\"");
}

}  // namespace tw
