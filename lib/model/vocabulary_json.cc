// A vocabulary from Hugging Face's tokenizer.json, with the values that llama.cpp's converter would
// write for it.
#include <algorithm>
#include <map>

#include "lib/base/error.h"
#include "lib/model/json.h"
#include "lib/model/name_text.h"
#include "lib/model/vocabulary.h"

namespace tw {
namespace {

constexpr int64_t kMaxTokens = 1 << 20;

struct Regex {
  const char* pre;
  const char* regex;
};
// The split before ByteLevel of the published tokenizer.json of Llama 3 and of Qwen 2.
constexpr Regex kRegexes[] = {
    {"llama-bpe", R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
                  R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {"qwen2", R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
              R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {"gpt-2", R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
};

const Json* member(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

std::string text_of(const Json& object, const char* key) {
  const Json* const value = member(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : "";
}

bool flag_of(const Json& object, const char* key, bool otherwise) {
  const Json* const value = member(object, key);
  return value != nullptr && value->is_boolean() ? value->get<bool>() : otherwise;
}

/// The steps of a pre-tokenizer, post-processor or the like: those of a "Sequence", or itself.
std::vector<const Json*> steps_of(const Json* value, const char* list) {
  if (value == nullptr || !value->is_object()) return {};
  if (text_of(*value, "type") != "Sequence") return {value};
  std::vector<const Json*> steps;
  if (const Json* const found = member(*value, list); found != nullptr && found->is_array())
    for (const Json& step : *found) steps.push_back(&step);
  return steps;
}

class Reader {
 public:
  Reader(const Json& tokenizer, const std::string& path) : top_(tokenizer, path), path_(path) {}

  Vocabulary read();

 private:
  void read_model(const Json& model);
  void read_tokens(const Json& model);
  void read_merges(const Json& model);
  void read_added();
  void read_pre();
  void read_post();
  void fill_holes();
  void set_scores();
  void put(int64_t id, const std::string& token, TokenType type);

  [[noreturn]] void refuse(const std::string& what,
                           tw_status_t status = TW_ERROR_INVALID_ARGUMENT) {
    fail(status, "%s: %s", path_.c_str(), what.c_str());
  }

  JsonObject top_;
  const std::string& path_;
  Vocabulary result_;
};

Vocabulary Reader::read() {
  const Json* const model = top_.find("model");
  if (model == nullptr) top_.missing("model");
  read_model(*model);
  read_tokens(*model);
  read_added();
  fill_holes();
  read_merges(*model);
  if (result_.model == "llama")
    set_scores();
  else
    read_pre();
  read_post();
  return std::move(result_);
}

void Reader::read_model(const Json& model) {
  const JsonObject object(model, path_, "model.");
  // Files before 2021 do not say it.
  if (const auto type = object.text("type"); type && *type != "BPE")
    object.refuse("type", "supported: \"BPE\"", TW_ERROR_UNSUPPORTED);
  // SentencePiece's vocabularies come as BPE with bytes to fall back on.
  const bool llama = object.flag("byte_fallback").value_or(false);
  result_.model = llama ? "llama" : "gpt2";
  result_.add_bos = llama;
  result_.add_space_prefix = llama;
}

void Reader::put(int64_t id, const std::string& token, TokenType type) {
  if (id < 0 || id >= kMaxTokens)
    refuse(text("token %s has id %lld; valid: 0 to %lld", name_text(token).c_str(),
                static_cast<long long>(id), static_cast<long long>(kMaxTokens - 1)));
  const auto place = static_cast<size_t>(id);
  if (place >= result_.tokens.size()) {
    result_.tokens.resize(place + 1);
    result_.types.resize(place + 1, TokenType::kUnused);
  }
  if (result_.types[place] != TokenType::kUnused && result_.tokens[place] != token)
    refuse(text("id %lld has two tokens, %s and %s", static_cast<long long>(id),
                name_text(result_.tokens[place]).c_str(), name_text(token).c_str()));
  result_.tokens[place] = token;
  result_.types[place] = type;
}

void Reader::read_tokens(const Json& model) {
  const JsonObject object(model, path_, "model.");
  const Json* const vocab = object.find("vocab");
  if (vocab == nullptr) object.missing("vocab");
  if (!vocab->is_object() || vocab->empty())
    object.refuse("vocab", "expected an object of tokens and ids");
  const JsonObject ids(*vocab, path_, "model.vocab.");
  const std::string unknown = object.text("unk_token").value_or("");
  for (const auto& [token, id] : vocab->items()) {
    if (!id.is_number_integer()) ids.refuse(token.c_str(), "expected an integer");
    const bool byte = result_.model == "llama" && token.size() == 6 && token.starts_with("<0x") &&
                      token.back() == '>';
    put(id.get<int64_t>(), token, byte ? TokenType::kByte : TokenType::kNormal);
    if (!unknown.empty() && token == unknown) result_.unknown = id.get<int64_t>();
  }
}

// What llama.cpp's converter takes for a control token even where the file does not call it
// special.
bool looks_special(std::string_view token) {
  return (token.starts_with("<|") && token.ends_with("|>")) || token == "<pad>" ||
         token == "<mask>";
}

void Reader::read_added() {
  const Json* const added = top_.find("added_tokens");
  if (added == nullptr) return;
  if (!added->is_array()) top_.refuse("added_tokens", "expected an array");
  for (const Json& entry : *added) {
    const JsonObject object(entry, path_, "added_tokens.");
    const auto id = object.integer("id");
    const auto token = object.text("content");
    if (!id) object.missing("id");
    if (!token) object.missing("content");
    const bool special = object.flag("special").value_or(false) || looks_special(*token);
    put(*id, *token, special ? TokenType::kControl : TokenType::kUserDefined);
  }
  if (result_.model == "llama" && result_.unknown >= 0)
    result_.types[static_cast<size_t>(result_.unknown)] = TokenType::kUnknown;
}

void Reader::fill_holes() {
  for (size_t i = 0; i < result_.tokens.size(); ++i)
    if (result_.types[i] == TokenType::kUnused) result_.tokens[i] = text("[PAD%zu]", i);
}

void Reader::read_merges(const Json& model) {
  const JsonObject object(model, path_, "model.");
  const Json* const merges = object.find("merges");
  if (merges == nullptr) object.missing("merges");
  if (!merges->is_array()) object.refuse("merges", "expected an array");
  result_.merges.reserve(merges->size());
  for (const Json& merge : *merges) {
    if (merge.is_string()) {
      result_.merges.push_back(merge.get<std::string>());
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      result_.merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
    } else {
      object.refuse("merges", "expected texts \"left right\" or pairs of texts");
    }
    const std::string& pair = result_.merges.back();
    const size_t space = pair.find(' ');
    if (space == 0 || space == std::string::npos || space + 1 == pair.size() ||
        pair.find(' ', space + 1) != std::string::npos)
      refuse(text("key \"model.merges\" has %s; expected two texts without spaces",
                  name_text(pair).c_str()));
  }
}

// SentencePiece merges the neighbours whose union has the highest score; the merges were made by
// that score, so minus the number of a union's first merge orders alike.
void Reader::set_scores() {
  std::map<std::string_view, size_t> ids;
  for (size_t i = 0; i < result_.tokens.size(); ++i) ids.emplace(result_.tokens[i], i);
  result_.scores.assign(result_.tokens.size(), 0);
  std::vector<bool> scored(result_.tokens.size());
  for (size_t m = 0; m < result_.merges.size(); ++m) {
    std::string joined = result_.merges[m];
    joined.erase(joined.find(' '), 1);
    const auto found = ids.find(joined);
    if (found == ids.end() || scored[found->second]) continue;
    scored[found->second] = true;
    result_.scores[found->second] = -static_cast<float>(m);
  }
  // Single characters, which no merge makes, come after all that merges make.
  for (size_t i = 0; i < scored.size(); ++i)
    if (!scored[i] && result_.types[i] == TokenType::kNormal)
      result_.scores[i] = -static_cast<float>(result_.merges.size());
  result_.merges.clear();
}

void Reader::read_pre() {
  bool digits = false;
  bool byte_level = false;
  std::string regex;
  for (const Json* const step : steps_of(top_.find("pre_tokenizer"), "pretokenizers")) {
    const std::string type = text_of(*step, "type");
    if (type == "Digits") {
      digits = flag_of(*step, "individual_digits", false);
    } else if (type == "ByteLevel") {
      byte_level = true;
      if (flag_of(*step, "add_prefix_space", false))
        refuse("key \"pre_tokenizer.add_prefix_space\" is true; supported: false",
               TW_ERROR_UNSUPPORTED);
      if (flag_of(*step, "use_regex", true) && regex.empty()) result_.pre = "gpt-2";
    } else if (type == "Split") {
      const Json* const pattern = member(*step, "pattern");
      regex = pattern == nullptr ? "" : text_of(*pattern, "Regex");
      result_.pre = pre_of_regex(regex);
      if (result_.pre.empty())
        refuse("key \"pre_tokenizer\" splits by " + name_text(regex) +
                   "; supported: what gpt-2, llama-bpe, qwen2 and smollm split by",
               TW_ERROR_UNSUPPORTED);
    } else {
      refuse("key \"pre_tokenizer\" has a step " + name_text(type) +
                 "; supported: Split, Digits, ByteLevel",
             TW_ERROR_UNSUPPORTED);
    }
  }
  if (digits && result_.pre == "gpt-2") result_.pre = "smollm";
  if (!byte_level || result_.pre.empty() || (digits && result_.pre != "smollm"))
    refuse("key \"pre_tokenizer\" is none of gpt-2, llama-bpe, qwen2 and smollm",
           TW_ERROR_UNSUPPORTED);
}

// A template "<bos> A" adds bos, "A <eos>" eos.
void Reader::read_post() {
  for (const Json* const step : steps_of(top_.find("post_processor"), "processors")) {
    if (text_of(*step, "type") != "TemplateProcessing") continue;
    const Json* const single = member(*step, "single");
    if (single == nullptr || !single->is_array() || single->empty()) continue;
    result_.add_bos = single->front().is_object() && single->front().contains("SpecialToken");
    result_.add_eos = single->back().is_object() && single->back().contains("SpecialToken");
  }
}

/// The text of a token of tokenizer_config.json: itself or its "content".
std::string special_text(const Json& config, const char* key) {
  const Json* const value = member(config, key);
  if (value == nullptr) return "";
  return value->is_object() ? text_of(*value, "content") : text_of(config, key);
}

void read_template(const Json& config, Vocabulary* result) {
  const Json* const value = member(config, "chat_template");
  if (value == nullptr) return;
  if (value->is_string()) result->chat_template = value->get<std::string>();
  if (!value->is_array()) return;
  for (const Json& entry : *value)
    if (text_of(entry, "name") == "default") result->chat_template = text_of(entry, "template");
}

struct Special {
  const char* token;  // in tokenizer_config.json
  const char* id;     // in config.json
  int64_t Vocabulary::*place;
};
constexpr Special kSpecials[] = {
    {"bos_token", "bos_token_id", &Vocabulary::bos},
    {"eos_token", "eos_token_id", &Vocabulary::eos},
    {"unk_token", "unk_token_id", &Vocabulary::unknown},
    {"pad_token", "pad_token_id", &Vocabulary::padding},
};

void read_specials(const Json& tokenizer_config, const Json& config, const std::string& folder,
                   Vocabulary* result) {
  for (const Special& special : kSpecials) {
    if (const std::string token = special_text(tokenizer_config, special.token); !token.empty()) {
      const auto found = std::find(result->tokens.begin(), result->tokens.end(), token);
      if (found == result->tokens.end())
        fail(TW_ERROR_INVALID_ARGUMENT, "%s/tokenizer_config.json: %s is %s, which is no token",
             folder.c_str(), special.token, name_text(token).c_str());
      result->*special.place = found - result->tokens.begin();
      continue;
    }
    // Llama 3.1's eos_token_id is a list; the first ends a text.
    const Json* id = member(config, special.id);
    if (id != nullptr && id->is_array() && !id->empty()) id = &id->front();
    if (id != nullptr && id->is_number_integer() && result->*special.place < 0)
      result->*special.place = id->get<int64_t>();
  }
}

}  // namespace

std::string_view pre_of_regex(std::string_view regex) {
  for (const Regex& row : kRegexes)
    if (regex == row.regex) return row.pre;
  return "";
}

Vocabulary vocabulary_of(const TokenizerTexts& texts) {
  const std::string path = texts.folder + "/tokenizer.json";
  const Json tokenizer = parse_json(texts.tokenizer, kMaxTokenizerBytes, path);
  const auto optional = [&texts](std::string_view json, size_t most, const char* name) {
    return json.empty() ? Json::object() : parse_json(json, most, texts.folder + "/" + name);
  };
  // tokenizer_config.json lists the added tokens once more: it may be large.
  const Json tokenizer_config =
      optional(texts.tokenizer_config, kMaxTokenizerBytes, "tokenizer_config.json");
  const Json config = optional(texts.config, kMaxConfigBytes, "config.json");
  Vocabulary result = Reader(tokenizer, path).read();
  read_specials(tokenizer_config, config, texts.folder, &result);
  result.add_bos = flag_of(tokenizer_config, "add_bos_token", result.add_bos);
  result.add_eos = flag_of(tokenizer_config, "add_eos_token", result.add_eos);
  read_template(tokenizer_config, &result);
  if (!texts.chat_template.empty()) result.chat_template = texts.chat_template;
  finish_vocabulary(&result, texts.folder);
  return result;
}

}  // namespace tw
