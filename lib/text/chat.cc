#include "lib/text/chat.h"

#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "lib/base/error.h"

namespace tw {
namespace {

constexpr std::string_view kChatMlBegin = "<|im_start|>";
constexpr std::string_view kChatMlEnd = "<|im_end|>";
constexpr std::string_view kLlama3Begin = "<|start_header_id|>";

/// The system message that a ChatML template writes itself: the first that stands between its marks
/// as plain text. A line break may be written as such or as Jinja's \n.
std::string own_system_message(std::string_view chat_template) {
  const std::string head = std::string(kChatMlBegin) + "system";
  for (size_t at = chat_template.find(head); at != std::string_view::npos;
       at = chat_template.find(head, at)) {
    at += head.size();
    std::string_view rest = chat_template.substr(at);
    const size_t line_break = rest.starts_with('\n') ? 1 : rest.starts_with("\\n") ? 2 : 0;
    if (line_break == 0) continue;
    rest.remove_prefix(line_break);
    const std::string_view message = rest.substr(0, std::min(rest.find(kChatMlEnd), rest.size()));
    // A quote or a brace: what stands there is put together when the template runs.
    if (message.size() < rest.size() && message.find_first_of("'\"{}") == std::string_view::npos)
      return replaced(message, "\\n", "\n");
  }
  return {};
}

/// As Jinja's filter `trim`.
std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\n\r\v\f";
  const size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) + 1 - begin);
}

void add_chat_ml(std::string& prompt, std::string_view role, std::string_view content) {
  for (const std::string_view part :
       {kChatMlBegin, role, std::string_view("\n"), content, kChatMlEnd, std::string_view("\n")})
    prompt += part;
}

std::string llama3_head(std::string_view role) {
  return std::string(kLlama3Begin) + std::string(role) + "<|end_header_id|>\n\n";
}

}  // namespace

ChatFormat::ChatFormat(const Tokenizer& tokenizer) {
  const Vocabulary& vocabulary = tokenizer.vocabulary();
  const std::string& words = vocabulary.chat_template;
  if (words.find(kChatMlBegin) != std::string::npos) {
    kind_ = Kind::kChatMl;
    system_ = own_system_message(words);
  } else if (words.find(kLlama3Begin) != std::string::npos) {
    kind_ = Kind::kLlama3;
  } else {
    warning_ = text(
        "the model's file has %s; known are ChatML and Llama 3; the prompt is passed on as it is",
        words.empty() ? "no chat template" : "a chat template of another kind");
  }
  ends_ = {static_cast<int32_t>(vocabulary.eos), static_cast<int32_t>(vocabulary.eot)};
  for (const char* name :
       {"<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>", "</s>"}) {
    const int32_t id = tokenizer.find(name);
    if (id >= 0 && tokenizer.type(id) == TokenType::kControl) ends_.push_back(id);
  }
}

std::string ChatFormat::format(std::span<const ChatMessage> messages,
                               bool add_generation_prompt) const {
  std::string prompt;
  switch (kind_) {
    case Kind::kRaw:
      for (const ChatMessage& message : messages)
        prompt += (&message == messages.data() ? "" : "\n") + message.content;
      return prompt;
    case Kind::kChatMl:
      if (!system_.empty() && !messages.empty() && messages[0].role != "system")
        add_chat_ml(prompt, "system", system_);
      for (const ChatMessage& message : messages)
        add_chat_ml(prompt, message.role, message.content);
      if (add_generation_prompt) prompt += std::string(kChatMlBegin) + "assistant\n";
      return prompt;
    case Kind::kLlama3:
      for (const ChatMessage& message : messages)
        prompt += llama3_head(message.role) + std::string(trimmed(message.content)) + "<|eot_id|>";
      if (add_generation_prompt) prompt += llama3_head("assistant");
      return prompt;
  }
  return prompt;
}

bool ChatFormat::ends_turn(int32_t id) const {
  return id >= 0 && std::find(ends_.begin(), ends_.end(), id) != ends_.end();
}

}  // namespace tw
