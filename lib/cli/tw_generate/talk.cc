#include "lib/cli/tw_generate/talk.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <stdexcept>
#include <string>

#include "lib/cli/model/interrupt.h"
#include "lib/cli/model/open.h"
#include "lib/cli/model/ranks.h"
#include "lib/cli/tw_generate/synthetic.h"
#include "lib/text/chat.h"
#include "lib/text/tokenizer.h"

namespace tw::cli {
namespace {

constexpr int64_t kChatContext = 4096;

uint32_t context_of(const GenerateOptions& options, int64_t wanted, int64_t most) {
  if (options.context > most)
    throw std::runtime_error("--ctx " + std::to_string(options.context) +
                             ": the model's context is " + std::to_string(most));
  return static_cast<uint32_t>(options.context > 0 ? options.context : std::min(wanted, most));
}

void show(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

/// Text: one prompt, or a conversation.
class TextTalk : public Talk {
 public:
  TextTalk(const GenerateOptions& options, FileText file)
      : TextTalk(options, file.context, std::move(file.vocabulary)) {}

  uint32_t context() const override { return context_; }

  std::optional<std::vector<int32_t>> next() override {
    if (first_) {
      std::vector<int32_t> tokens = *std::move(first_);
      first_.reset();
      start_turn();
      return tokens;
    }
    if (!converses_ || !hear()) return std::nullopt;
    std::vector<int32_t> tokens = encode_talk();
    if (tokens.size() >= context_) {
      say("tw_generate", "the conversation has " + std::to_string(tokens.size()) +
                             " tokens, the context " + std::to_string(context_) + " (--ctx)");
      return std::nullopt;
    }
    start_turn();
    return tokens;
  }

  bool put(int32_t token) override {
    if (chat_.ends_turn(token)) return false;
    const std::string text = decoder_->put(token);
    reply_ += text;
    show(text);
    return true;
  }

  void finish() override {
    const std::string rest = decoder_->flush();
    reply_ += rest;
    show(rest + "\n");
    if (converses_) talk_.push_back({"assistant", reply_});
  }

 private:
  TextTalk(const GenerateOptions& options, int64_t model_context, Vocabulary vocabulary)
      : tokenizer_(std::move(vocabulary)), chat_(tokenizer_) {
    if (options.chat && !chat_.warning().empty()) say("tw_generate", chat_.warning());
    converses_ = options.chat && !options.has_prompt && options.file.empty();
    if (converses_) {
      context_ = context_of(options, kChatContext, model_context);
      return;
    }
    const std::string text = options.file.empty() ? options.prompt : read_file(options.file);
    if (options.chat) {
      talk_.push_back({"user", text});
      first_ = encode_talk();
    } else {
      first_ = tokenizer_.encode(text, false, tokenizer_.vocabulary().add_bos);
    }
    if (first_->empty()) throw std::runtime_error("the prompt is empty; valid: some text");
    const auto size = static_cast<int64_t>(first_->size());
    context_ = context_of(options, size + options.n, model_context);
    if (size >= context_)
      throw std::runtime_error("the prompt has " + std::to_string(size) +
                               " tokens; valid: fewer than the context of " +
                               std::to_string(context_));
  }

  std::vector<int32_t> encode_talk() const {
    return tokenizer_.encode(chat_.format(talk_, true), true, tokenizer_.vocabulary().add_bos);
  }

  /// The user's next turn; false when there is none.
  bool hear() {
    std::string line;
    while (line.empty()) {
      if (isatty(STDIN_FILENO) != 0) show("> ");
      if (Interrupt::wanted() || !std::getline(std::cin, line)) return false;
    }
    talk_.push_back({"user", line});
    return true;
  }

  void start_turn() {
    reply_.clear();
    decoder_ = std::make_unique<StreamDecoder>(tokenizer_, false, true);
  }

  const Tokenizer tokenizer_;
  const ChatFormat chat_;
  bool converses_ = false;
  uint32_t context_ = 0;
  std::optional<std::vector<int32_t>> first_;
  std::vector<ChatMessage> talk_;
  std::string reply_;
  std::unique_ptr<StreamDecoder> decoder_;
};

/// Tokens as numbers, of a model without text.
class NumberTalk : public Talk {
 public:
  NumberTalk(const GenerateOptions& options, const tw_model_desc_t& desc)
      : context_(context_of(options, int64_t{options.prompt_tokens} + options.n, desc.context)) {
    if (static_cast<uint32_t>(options.prompt_tokens) >= context_)
      throw std::runtime_error("--prompt-tokens " + std::to_string(options.prompt_tokens) +
                               "; valid: fewer than the context of " + std::to_string(context_));
    // Neighbours differ and none repeats for long.
    for (int64_t i = 0; i < options.prompt_tokens; ++i)
      prompt_.push_back(static_cast<int32_t>((i * 7919 + 1) % desc.vocab));
    say("tw_generate", "random weights of the shape of " + options.synthetic + ", " +
                           std::to_string(desc.layers) +
                           " layers: tokens are shown as numbers and mean nothing");
  }

  uint32_t context() const override { return context_; }
  std::optional<std::vector<int32_t>> next() override {
    if (prompt_.empty()) return std::nullopt;
    return std::exchange(prompt_, {});
  }
  bool put(int32_t token) override {
    show(std::to_string(token) + " ");
    return true;
  }
  void finish() override { show("\n"); }

 private:
  const uint32_t context_;
  std::vector<int32_t> prompt_;
};

}  // namespace

std::unique_ptr<Talk> make_talk(const GenerateOptions& options) {
  if (options.synthetic.empty())
    return std::make_unique<TextTalk>(options, read_text_of(options.model));
  return std::make_unique<NumberTalk>(options, *find_shape(options.synthetic, options.layers));
}

}  // namespace tw::cli
