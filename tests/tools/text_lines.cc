// text_lines lines|llama|llama-inner: the tests' lines, or the tokens of a made-up vocabulary with
// their types and scores, for tests/tools/text_fixtures. One a line, the bytes in hexadecimal.
#include "tests/support/text_lines.h"

#include <cstdio>
#include <string>

#include "tests/support/text_vocabulary.h"

namespace {

void print_hex(const std::string& bytes) {
  for (const char byte : bytes) std::printf("%02x", static_cast<unsigned char>(byte));
}

void print_lines() {
  for (const std::string& line : tw::text_lines()) {
    print_hex(line);
    std::putchar('\n');
  }
}

void print_vocabulary(const tw::Vocabulary& vocabulary) {
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    print_hex(vocabulary.tokens[id]);
    std::printf(" %d %.9g\n", static_cast<int>(vocabulary.types[id]),
                static_cast<double>(vocabulary.scores[id]));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc == 2 ? argv[1] : "";
  if (what == "lines") {
    print_lines();
  } else if (what == "llama" || what == "llama-inner") {
    print_vocabulary(tw::sentence_vocabulary(what == "llama-inner"));
  } else {
    std::fputs("usage: text_lines lines|llama|llama-inner\n", stderr);
    return 2;
  }
  return 0;
}
