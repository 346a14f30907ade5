#include "perf/model/batch.h"

#include <algorithm>

#include "tilewire/cpp.h"

namespace tw::perf {

namespace {

constexpr uint32_t kPageSize = 16;
constexpr uint32_t kContextRows = 512;  // of a step that computes context

// Neighbours in either direction differ.
int32_t token_at(uint32_t sequence, uint32_t position, int64_t vocab) {
  return static_cast<int32_t>((int64_t{position} * 7919 + int64_t{sequence} * 104729 + 1) % vocab);
}

}  // namespace

tw_model_limits_t limits_for(const std::vector<ModelCase>& cases, bool samples) {
  tw_model_limits_t limits = TW_MODEL_LIMITS_INIT;
  limits.page_size = kPageSize;
  for (const ModelCase& c : cases) {
    limits.rows = std::max({limits.rows, c.rows(), std::min(c.context, kContextRows)});
    limits.sequences = std::max(limits.sequences, c.batch);
    limits.context = std::max(limits.context, c.length());
    limits.pages = std::max(limits.pages, c.batch * c.pages(kPageSize));
  }
  limits.logit_rows = samples ? limits.sequences : 0;
  limits.table_pages = limits.pages;
  return limits;
}

void Batch::begin(const ModelCase& c) {
  sequences_ = c.batch;
  pages_each_ = c.pages(limits_.page_size);
  page_table_.clear();
  for (uint32_t page = 0; page < sequences_ * pages_each_; ++page) page_table_.push_back(page);
}

tw_step_t Batch::step(uint32_t sequences, uint32_t from, uint32_t tokens) {
  tokens_.clear();
  positions_.clear();
  slots_.clear();
  last_rows_.clear();
  query_begin_.assign(1, 0);
  page_begin_.assign(1, 0);
  for (uint32_t s = 0; s < sequences; ++s) {
    for (uint32_t at = from; at < from + tokens; ++at) {
      tokens_.push_back(token_at(s, at, vocab_));
      positions_.push_back(static_cast<int32_t>(at));
      slots_.push_back(int64_t{s} * pages_each_ * limits_.page_size + at);
    }
    query_begin_.push_back((s + 1) * tokens);
    page_begin_.push_back((s + 1) * pages_each_);
    last_rows_.push_back((s + 1) * tokens - 1);
  }
  tw_step_t step = TW_STEP_INIT;
  step.rows = sequences * tokens;
  step.sequences = sequences;
  step.tokens = tokens_.data();
  step.positions = positions_.data();
  step.slots = slots_.data();
  step.query_begin = query_begin_.data();
  step.page_begin = page_begin_.data();
  step.pages = page_table_.data();
  step.logit_row = last_rows_.data();
  return step;
}

void Batch::spread(tw_model_t model) const {
  std::vector<uint32_t> from, to;
  for (uint32_t s = 1; s < sequences_; ++s)
    for (uint32_t page = 0; page < pages_each_; ++page) {
      from.push_back(page);
      to.push_back(s * pages_each_ + page);
    }
  if (!from.empty()) cpp::check(tw_model_kv_copy(model, from.data(), to.data(), from.size()));
}

}  // namespace tw::perf
