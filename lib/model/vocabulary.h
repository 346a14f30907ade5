// What a model file says of its text: the tokens and how text becomes tokens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/vocabulary.h"

namespace tw {

class Gguf;

/// Throws INVALID_ARGUMENT naming the key that is missing or wrong, UNSUPPORTED for another model.
Vocabulary vocabulary_of(const Gguf& gguf);

/// The texts of the JSON files of a folder; tokenizer.json must be there, the others may be empty.
struct TokenizerTexts {
  std::string folder;                 // named in errors
  std::string_view tokenizer;         // tokenizer.json
  std::string_view tokenizer_config;  // tokenizer_config.json
  std::string_view config;            // config.json: ids that tokenizer_config.json lacks
  std::string_view chat_template;     // chat_template.jinja
};

/// Throws as the other does.
Vocabulary vocabulary_of(const TokenizerTexts& texts);

/// The name of the pre-tokenizer whose last split has this regular expression; "" when unknown.
std::string_view pre_of_regex(std::string_view regex);

/// Sets `eot` where the file has not: to the token of text "<|eot_id|>" or "<|im_end|>". Throws
/// INVALID_ARGUMENT when an id is no token's; `path` names the file.
void finish_vocabulary(Vocabulary* vocabulary, const std::string& path);

}  // namespace tw
