#include "lib/model/staged_step.h"

#include <algorithm>

namespace tw {
namespace {

template <class T>
void copy(std::vector<T>& to, const T* from, size_t n) {
  if (from != nullptr) std::copy_n(from, n, to.begin());
}

size_t mask_words(const ModelDesc& desc) { return (static_cast<size_t>(desc.vocab) + 31) / 32; }

}  // namespace

StagedStep::StagedStep(const ModelDesc& desc, const ModelLimits& limits, int32_t* sampled_slots)
    : tokens_(limits.rows),
      positions_(limits.rows),
      sampled_(limits.logit_rows),
      slots_(limits.rows),
      query_begin_(limits.sequences + size_t{1}),
      page_begin_(limits.sequences + size_t{1}),
      pages_(limits.table_pages),
      logit_row_(limits.logit_rows),
      allowed_(limits.logit_rows * mask_words(desc)),
      sampling_(limits.logit_rows),
      log_probability_(limits.logit_rows) {
  view_.tokens = tokens_.data();
  view_.positions = positions_.data();
  view_.slots = slots_.data();
  view_.query_begin = query_begin_.data();
  view_.page_begin = page_begin_.data();
  view_.pages = pages_.data();
  view_.logit_row = logit_row_.data();
  view_.sampled = sampled_.data();
  view_.sampled_slots = sampled_slots;
  view_.slot_count = limits.slots;
}

void StagedStep::take(const Step& s, const ModelDesc& desc) {
  taken_.store(true, std::memory_order_relaxed);
  step_ = s;
  note_ = note_of(s, desc);
  view_.rows = s.rows;
  view_.sequences = s.sequences;
  view_.logit_rows = s.logit_rows;
  view_.first_layer = s.first_layer;
  view_.last_layer = std::min(s.last_layer, static_cast<uint32_t>(desc.layers));
  view_.embed_rows = s.hidden_in == nullptr ? s.rows : 0;
  view_.hidden_rows = s.hidden_out == nullptr ? 0 : s.rows;
  view_.gather_logits = s.logits_to == LogitsTo::kAll || s.logits_to == LogitsTo::kOne;
  copy(tokens_, s.hidden_in == nullptr ? s.tokens : nullptr, s.rows);
  copy(positions_, s.positions, s.rows);
  copy(slots_, s.slots, s.rows);
  copy(query_begin_, s.query_begin, s.sequences + size_t{1});
  copy(page_begin_, s.page_begin, s.sequences + size_t{1});
  copy(pages_, s.pages, s.page_begin[s.sequences]);
  copy(logit_row_, s.logit_row, s.logit_rows);
  copy(allowed_, s.allowed, s.logit_rows * mask_words(desc));
  copy(sampling_, s.sampling, s.logit_rows);
  view_.allowed = s.allowed == nullptr ? nullptr : allowed_.data();
  view_.sampling = s.sampling == nullptr ? nullptr : sampling_.data();
  view_.log_probability = s.log_probability == nullptr ? nullptr : log_probability_.data();
  for (uint32_t i = 0; s.sampling != nullptr && i < s.logit_rows; ++i)
    if (s.sampling[i].temperature > 0) view_.gather_logits = 1;
}

void StagedStep::give_results() {
  if (step_.sampling != nullptr) {
    if (step_.sampled != nullptr) std::copy_n(sampled_.begin(), step_.logit_rows, step_.sampled);
    if (step_.log_probability != nullptr)
      std::copy_n(log_probability_.begin(), step_.logit_rows, step_.log_probability);
  }
  taken_.store(false, std::memory_order_release);
}

}  // namespace tw
