#include "lib/text/words.h"

#include <optional>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "lib/base/error.h"
#include "lib/text/utf8.h"

namespace tw {
namespace {

// Unicode's White_Space. PCRE2's own \s also takes U+180E, which it has not been since Unicode 6.3.
#define TW_SPACE                                                            \
  "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x" \
  "{202f}\\x{205f}\\x{3000}"
#define TW_SPACES "[" TW_SPACE "]"
#define TW_MARKS " ?[^" TW_SPACE "\\p{L}\\p{N}]+"
// A run of spaces leaves its last one to the word that follows.
#define TW_SPACE_RUN TW_SPACES "+(?![^" TW_SPACE "])|" TW_SPACES "+"
#define TW_ENGLISH "'s|'t|'re|'ve|'m|'ll|'d|"
#define TW_ENGLISH_ANY_CASE "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|"
#define TW_LETTERS_AFTER_ONE_MARK "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define TW_LINES TW_MARKS "[\\r\\n]*|" TW_SPACES "*[\\r\\n]+|" TW_SPACE_RUN

struct Row {
  const char* name;
  const char* pattern;
  bool whole_words;
};

// Every character begins a match, so that a text is its words. Sources: the tokenizer.json files of
// GPT-2, SmolLM, Llama 3 and Qwen 2; contractions in any case are spelled out, as llama.cpp does,
// because Unicode's case folding would let U+017F stand for s.
constexpr Row kRows[] = {
    {"gpt-2", TW_ENGLISH " ?\\p{L}+| ?\\p{N}+|" TW_MARKS "|" TW_SPACE_RUN, false},
    // SmolLM first sets each digit apart, so a run of spaces before a digit ends like the text.
    {"smollm",
     "\\p{N}|" TW_ENGLISH " ?\\p{L}+|" TW_MARKS "|" TW_SPACES "+(?![^" TW_SPACE
     "\\p{N}])|" TW_SPACES "+",
     false},
    {"llama-bpe", TW_ENGLISH_ANY_CASE TW_LETTERS_AFTER_ONE_MARK "\\p{N}{1,3}|" TW_LINES, true},
    {"qwen2", TW_ENGLISH_ANY_CASE TW_LETTERS_AFTER_ONE_MARK "\\p{N}|" TW_LINES, false},
};

const Row& row_of(const std::string& pre) {
  std::string valid;
  for (const Row& row : kRows) {
    if (pre == row.name) return row;
    valid += (valid.empty() ? "" : ", ") + std::string(row.name);
  }
  fail(TW_ERROR_INVALID_ARGUMENT, "pre-tokenizer \"%s\" is unknown; valid: %s", pre.c_str(),
       valid.c_str());
}

/// `text` as the patterns may see it: valid, and every byte in its place. U+0001 stands for an
/// invalid byte: it is of the same class as U+FFFD and takes one byte. Nothing when all is valid.
std::optional<std::string> made_valid(std::string_view text) {
  std::optional<std::string> copy;
  for (size_t at = 0; at < text.size();) {
    const size_t size = utf8::character_size(text.substr(at, 4));
    if (size == 0) {
      if (!copy) copy.emplace(text);
      (*copy)[at] = '\1';
    }
    at += size == 0 ? 1 : size;
  }
  return copy;
}

std::string message_of(int error) {
  char message[256] = "";
  pcre2_get_error_message_8(error, reinterpret_cast<PCRE2_UCHAR8*>(message), sizeof message);
  return message;
}

struct FreeMatch {
  void operator()(pcre2_match_data_8* data) const { pcre2_match_data_free_8(data); }
  void operator()(pcre2_match_context_8* context) const { pcre2_match_context_free_8(context); }
};

}  // namespace

void WordPattern::Free::operator()(pcre2_real_code_8* code) const { pcre2_code_free_8(code); }

WordPattern::WordPattern(const std::string& pre) {
  const Row& row = row_of(pre);
  int error = 0;
  PCRE2_SIZE place = 0;
  code_.reset(pcre2_compile_8(reinterpret_cast<PCRE2_SPTR8>(row.pattern), PCRE2_ZERO_TERMINATED,
                              PCRE2_UTF | PCRE2_ANCHORED, &error, &place, nullptr));
  if (code_ == nullptr)
    fail(TW_ERROR_INTERNAL, "pattern of pre-tokenizer %s: %s at %zu", row.name,
         message_of(error).c_str(), place);
  // Without a just-in-time compiler for this machine the pattern is interpreted.
  pcre2_jit_compile_8(code_.get(), PCRE2_JIT_COMPLETE);
  whole_words_ = row.whole_words;
}

void WordPattern::split(std::string_view text, std::vector<std::string_view>& words) const {
  const std::optional<std::string> copy = made_valid(text);
  const auto* const seen = reinterpret_cast<PCRE2_SPTR8>(copy ? copy->data() : text.data());
  const std::unique_ptr<pcre2_match_data_8, FreeMatch> match(pcre2_match_data_create_8(1, nullptr));
  // The interpreter counts each step back; a word of many megabytes has more than the default.
  const std::unique_ptr<pcre2_match_context_8, FreeMatch> context(
      pcre2_match_context_create_8(nullptr));
  if (match == nullptr || context == nullptr) fail(TW_ERROR_OUT_OF_MEMORY, "out of memory");
  pcre2_set_match_limit_8(context.get(), UINT32_MAX);
  pcre2_set_heap_limit_8(context.get(), UINT32_MAX);
  pcre2_set_depth_limit_8(context.get(), UINT32_MAX);
  for (size_t at = 0; at < text.size();) {
    int found = pcre2_match_8(code_.get(), seen, text.size(), at, PCRE2_NO_UTF_CHECK, match.get(),
                              context.get());
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
      found = pcre2_match_8(code_.get(), seen, text.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                            match.get(), context.get());
    if (found < 0)
      fail(TW_ERROR_INTERNAL, "cutting a text of %zu bytes into words failed at %zu: %s",
           text.size(), at, message_of(found).c_str());
    const size_t end = pcre2_get_ovector_pointer_8(match.get())[1];
    words.push_back(text.substr(at, end - at));
    at = end;
  }
}

}  // namespace tw
