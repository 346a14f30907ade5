#include "lib/cli/model/sequence.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace tw::cli {
namespace {

constexpr uint32_t kPageSize = 16;

}  // namespace

tw_model_limits_t limits_for(uint32_t context, uint32_t rows, uint32_t logit_rows) {
  tw_model_limits_t limits = TW_MODEL_LIMITS_INIT;
  limits.rows = std::min(rows, context);
  limits.logit_rows = std::min(logit_rows, limits.rows);
  limits.context = context;
  limits.page_size = kPageSize;
  limits.pages = (context + kPageSize - 1) / kPageSize;
  limits.table_pages = limits.pages;
  return limits;
}

void Sequence::cut(size_t size) {
  tokens_.resize(std::min(size, tokens_.size()));
  table_.resize(tokens_.size());
}

tw_step_t Sequence::append(std::span<const int32_t> tokens, uint32_t logit_rows) {
  const size_t begin = tokens_.size();
  const size_t end = begin + tokens.size();
  if (end > limits_.context)
    throw std::runtime_error(std::to_string(end) + " tokens are more than the context of " +
                             std::to_string(limits_.context));
  table_.resize(end);
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  positions_.clear();
  slots_.clear();
  logit_row_.clear();
  for (size_t position = begin; position < end; ++position) {
    positions_.push_back(static_cast<int32_t>(position));
    slots_.push_back(table_.slot(position));
  }
  const auto rows = static_cast<uint32_t>(tokens.size());
  for (uint32_t row = rows - logit_rows; row < rows; ++row) logit_row_.push_back(row);
  query_begin_[1] = rows;
  page_begin_[1] = static_cast<uint32_t>(table_.pages().size());

  tw_step_t step = TW_STEP_INIT;
  step.rows = rows;
  step.sequences = 1;
  step.logit_rows = logit_rows;
  step.tokens = tokens_.data() + begin;
  step.positions = positions_.data();
  step.slots = slots_.data();
  step.query_begin = query_begin_;
  step.page_begin = page_begin_;
  step.pages = table_.pages().data();
  step.logit_row = logit_row_.data();
  return step;
}

}  // namespace tw::cli
