// What llama-perplexity scores: windows of `ctx` tokens without overlap; of each the tokens of the
// second half, each after all that stands before it in the window.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tw::cli {

class Windows {
 public:
  /// `bos`: takes the place of each window's first token; -1: none does. Tokens that do not fill a
  /// window are left out.
  Windows(std::vector<int32_t> tokens, size_t ctx, int32_t bos)
      : tokens_(std::move(tokens)), ctx_(ctx), bos_(bos) {}

  size_t count() const { return tokens_.size() / ctx_; }
  std::vector<int32_t> window(size_t i) const {
    const auto begin = tokens_.begin() + static_cast<ptrdiff_t>(i * ctx_);
    std::vector<int32_t> window(begin, begin + static_cast<ptrdiff_t>(ctx_));
    if (bos_ >= 0) window[0] = bos_;
    return window;
  }

 private:
  std::vector<int32_t> tokens_;
  size_t ctx_;
  int32_t bos_;
};

/// The first row of a window whose next token is scored; the last is ctx - 2.
constexpr size_t first_scored(size_t ctx) { return ctx / 2; }

/// -log of the softmax of `logits` at `token`, in double.
inline double surprise(std::span<const float> logits, int32_t token) {
  const auto most = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - most);
  return most + std::log(sum) - static_cast<double>(logits[static_cast<size_t>(token)]);
}

/// exp of the mean of what is added.
class Perplexity {
 public:
  void add(double surprise) {
    sum_ += surprise;
    ++count_;
  }
  size_t count() const { return count_; }
  double value() const { return std::exp(sum_ / static_cast<double>(count_)); }

 private:
  double sum_ = 0;
  size_t count_ = 0;
};

}  // namespace tw::cli
