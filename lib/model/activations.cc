#include "lib/model/activations.h"

#include <algorithm>

#include "lib/program/products.h"

namespace tw {
namespace {

/// The most rows of sums that a rank keeps in any of the steps.
size_t most_kept_rows(const std::vector<StepSize>& sizes, int ranks) {
  uint32_t most = 0;
  for (const StepSize& size : sizes) {
    const bool owned = rows_have_owners(size.rows, ranks);
    most = std::max(most, owned ? owned_rows(size.rows, ranks, 0).count : size.rows);
  }
  return most;
}

}  // namespace

std::vector<StepSize> step_sizes(uint32_t rows, uint32_t logit_rows) {
  std::vector<StepSize> sizes;
  for (uint32_t size = 1;; size = std::min(2 * size, rows)) {
    sizes.push_back({size, std::min(size, logit_rows)});
    if (size == rows) return sizes;
  }
}

Activations::Activations(const ModelDesc& desc, const ModelShare& share, int ranks, uint32_t rows,
                         uint32_t logit_rows) {
  constexpr size_t kAlign = 4096;
  size_t end = 0;
  const auto take = [&](size_t size) {
    const size_t at = end;
    end = divide_up(at + size, kAlign) * kAlign;
    return at;
  };
  const auto matrix = [&](size_t count, size_t cols, tw_type_t type) {
    return SharedMatrix{take(count * cols * packed_element(type)), cols, type};
  };
  const auto hidden_size = static_cast<size_t>(desc.hidden);
  size_t qkv_cols = 0, q_cols = 0, ffn_cols = 0;
  for (int r = 0; r < ranks; ++r) {
    qkv_cols = std::max(qkv_cols, share.qkv_size(r));
    q_cols = std::max(q_cols, share.q_size(r));
    ffn_cols = std::max(ffn_cols, share.ffn_size(r));
  }
  x = matrix(rows, hidden_size, TW_FP32);
  y = matrix(rows, hidden_size, TW_BF16);
  qkv = matrix(rows, qkv_cols, TW_BF16);
  attended = matrix(rows, q_cols, TW_BF16);
  gated = matrix(rows, ffn_cols, TW_BF16);
  const auto senders = static_cast<size_t>(ranks);
  sender_bytes =
      most_kept_rows(step_sizes(rows, logit_rows), ranks) * hidden_size * packed_element(TW_BF16);
  o_sums = {take(senders * sender_bytes), hidden_size, TW_BF16};
  down_sums = {take(senders * sender_bytes), hidden_size, TW_BF16};
  hidden = matrix(rows, hidden_size, TW_FP32);
  wanted = matrix(logit_rows, hidden_size, TW_BF16);
  logits = matrix(logit_rows, static_cast<size_t>(desc.vocab), TW_FP32);
  record_bytes = logit_rows * SampleRecord::kFields * sizeof(float);
  records = {take(senders * record_bytes), SampleRecord::kFields, TW_FP32};
  bytes = end;
}

}  // namespace tw
