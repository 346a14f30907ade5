// Rank 0's side of tw_generate: where prompts come from, and where tokens go.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "lib/cli/tw_generate/options.h"

namespace tw::cli {

class Talk {
 public:
  Talk() = default;
  Talk(const Talk&) = delete;
  Talk& operator=(const Talk&) = delete;
  virtual ~Talk() = default;

  /// Tokens that the model's steps must have room for.
  virtual uint32_t context() const = 0;
  /// What to go on from, the conversation so far included; nothing: it is over.
  virtual std::optional<std::vector<int32_t>> next() = 0;
  /// Shows a token; false when it ends the turn.
  virtual bool put(int32_t token) = 0;
  /// The turn is over.
  virtual void finish() = 0;
};

/// Reads the file's vocabulary and the first prompt. Throws std::exception naming what is wrong.
std::unique_ptr<Talk> make_talk(const GenerateOptions& options);

}  // namespace tw::cli
