// Chat templates: recognised by the file's text, and what they make of a conversation.
#include "lib/text/chat.h"

#include <gtest/gtest.h>

#include "tests/support/text_vocabulary.h"

namespace tw {
namespace {

// As in SmolLM2's file.
constexpr const char* kSmolLm2 =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}";

// The beginning of a Qwen2.5 file's: heads that are put together stand before the plain message.
constexpr const char* kQwen2 =
    "{%- if tools %}{{- '<|im_start|>system\\n' }}{%- if messages[0]['role'] == 'system' %}"
    "{{- messages[0]['content'] }}{%- endif %}{{- '<|im_end|>\\n' }}{%- else %}"
    "{{- '<|im_start|>system\\nYou are Qwen.\\nBe brief.<|im_end|>\\n' }}{%- endif %}";

constexpr const char* kLlama3 =
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = "
    "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim "
    "+ "
    "'<|eot_id|>' %}{{ content }}{% endfor %}";

const std::vector<ChatMessage> kTalk = {{"user", "Hi "}, {"assistant", "Hello."}, {"user", "Bye"}};

Tokenizer with_template(const char* chat_template) {
  Vocabulary vocabulary = smollm2_vocabulary();
  vocabulary.chat_template = chat_template;
  return Tokenizer(vocabulary);
}

TEST(Chat, ChatMlWithTheTemplatesOwnSystemMessage) {
  const Tokenizer tokenizer = with_template(kSmolLm2);
  const ChatFormat chat(tokenizer);
  EXPECT_EQ(chat.kind(), ChatFormat::Kind::kChatMl);
  EXPECT_EQ(chat.warning(), "");
  EXPECT_EQ(chat.format(kTalk, true),
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
            "Face<|im_end|>\n<|im_start|>user\nHi <|im_end|>\n<|im_start|>assistant\nHello."
            "<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n");
  const std::vector<ChatMessage> with_system = {{"system", "Be terse."}, {"user", "Hi"}};
  EXPECT_EQ(chat.format(with_system, false),
            "<|im_start|>system\nBe terse.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n");
  EXPECT_EQ(chat.format({}, true), "<|im_start|>assistant\n");
  // The prompt begins with the special token itself.
  EXPECT_EQ(tokenizer.encode(chat.format(kTalk, true), true, false)[0], 1);
}

TEST(Chat, AMessageThatIsPutTogetherIsNoDefault) {
  const ChatFormat chat(with_template(kQwen2));
  EXPECT_EQ(chat.format(kTalk, false).substr(0, 52),
            "<|im_start|>system\nYou are Qwen.\nBe brief.<|im_end|>");
  const ChatFormat longer(with_template("<|im_start|>systematic<|im_end|>"));
  EXPECT_EQ(longer.format(kTalk, false).substr(0, 17), "<|im_start|>user\n");
  const ChatFormat plain(with_template("{{ '<|im_start|>' + message['role'] }}"));
  EXPECT_EQ(plain.format(kTalk, false).substr(0, 17), "<|im_start|>user\n");
}

TEST(Chat, Llama3TrimsAndLeavesTheBeginningToTheTokenizer) {
  const ChatFormat chat(with_template(kLlama3));
  EXPECT_EQ(chat.kind(), ChatFormat::Kind::kLlama3);
  EXPECT_EQ(chat.format(kTalk, true),
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant"
            "<|end_header_id|>\n\nHello.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nBye"
            "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");
}

TEST(Chat, AnotherTemplateIsNamedAndThePromptStays) {
  const ChatFormat other(with_template("[INST] {{ content }} [/INST]"));
  EXPECT_EQ(other.kind(), ChatFormat::Kind::kRaw);
  EXPECT_EQ(other.warning(),
            "the model's file has a chat template of another kind; known are ChatML and Llama 3; "
            "the prompt is passed on as it is");
  EXPECT_EQ(other.format(std::vector<ChatMessage>{{"user", " Hi "}}, true), " Hi ");
  EXPECT_EQ(other.format(kTalk, true), "Hi \nHello.\nBye");
  EXPECT_NE(ChatFormat(with_template("")).warning().find("has no chat template"),
            std::string::npos);
}

TEST(Chat, WhatEndsATurn) {
  const ChatFormat chat(with_template(kSmolLm2));
  EXPECT_TRUE(chat.ends_turn(2));   // <|im_end|>
  EXPECT_TRUE(chat.ends_turn(0));   // <|endoftext|>
  EXPECT_FALSE(chat.ends_turn(1));  // <|im_start|>
  EXPECT_FALSE(chat.ends_turn(-1));
  EXPECT_FALSE(chat.ends_turn(300));
  Vocabulary vocabulary = small_vocabulary("llama-bpe");
  vocabulary.eot = 2;
  vocabulary.tokens.emplace_back("<|eot_id|>");
  vocabulary.types.push_back(TokenType::kControl);
  const ChatFormat llama3{Tokenizer(vocabulary)};
  const auto last = static_cast<int32_t>(vocabulary.tokens.size()) - 1;
  for (const int32_t id : {1, 2, last}) EXPECT_TRUE(llama3.ends_turn(id)) << id;
}

}  // namespace
}  // namespace tw
