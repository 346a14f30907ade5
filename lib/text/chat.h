// From a conversation to the prompt that a model was trained on.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lib/text/tokenizer.h"

namespace tw {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

/// The chat template of a model's file, recognised by its words: ChatML (<|im_start|>) or Llama 3
/// (<|start_header_id|>). Jinja is not interpreted.
class ChatFormat {
 public:
  enum class Kind { kRaw, kChatMl, kLlama3 };

  explicit ChatFormat(const Tokenizer& tokenizer);

  Kind kind() const { return kind_; }

  /// Why the prompt is passed on as it is, a sentence for the user; empty when a template is known.
  const std::string& warning() const { return warning_; }

  /// The prompt, to be encoded with `special` and with the vocabulary's add_bos: the beginning of
  /// text is not in it. `add_generation_prompt`: ends with the head of the assistant's turn. A
  /// conversation that does not begin with a system message gets the template's own, if there is
  /// one (ChatML). Raw: the messages' contents, a line break between them.
  std::string format(std::span<const ChatMessage> messages, bool add_generation_prompt) const;

  /// Whether a model that gives this token has ended its turn or the text.
  bool ends_turn(int32_t id) const;

 private:
  Kind kind_ = Kind::kRaw;
  std::string warning_;
  std::string system_;  // the template's own system message; empty: none
  std::vector<int32_t> ends_;
};

}  // namespace tw
