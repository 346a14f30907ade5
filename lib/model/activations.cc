#include "lib/model/activations.h"

#include <algorithm>

#include "lib/program/products.h"

namespace tw {
namespace {

/// The most rows of sums that a rank keeps in a step of up to `rows`.
size_t most_kept_rows(size_t rows, int ranks) {
  if (!rows_have_owners(static_cast<uint32_t>(rows), ranks)) return rows;
  const size_t owned = owned_rows(static_cast<uint32_t>(rows), ranks, 0).count;
  return std::max<size_t>(owned, kOwnedRows - 1);
}

}  // namespace

Activations::Activations(const ModelDesc& desc, const ModelShare& share, int ranks, size_t rows,
                         size_t logit_rows) {
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
  sender_bytes = most_kept_rows(rows, ranks) * hidden_size * packed_element(TW_BF16);
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
