// The vocabularies that the tokenizer's tests use.
#pragma once

#include "lib/text/vocabulary.h"

namespace tw {

/// SmolLM2's, from tests/fixtures/text/smollm2.vocabulary; `pre` may be another pattern's name.
Vocabulary smollm2_vocabulary(const char* pre = "smollm");

/// A made-up one of model "llama": what is text among SmolLM2's first tokens, and all bytes.
/// `inner_spaces`: with tokens that go on over the space before a word.
Vocabulary sentence_vocabulary(bool inner_spaces);

/// A made-up one of model "gpt2": the bytes, some merges, and special tokens.
Vocabulary small_vocabulary(const char* pre);

}  // namespace tw
