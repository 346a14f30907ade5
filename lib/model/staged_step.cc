#include "lib/model/staged_step.h"

#include <algorithm>
#include <cmath>

#include "lib/base/error.h"

namespace tw {
namespace {

constexpr const char* kName = "tw_model_step";

void at_most(const char* what, uint32_t value, uint32_t least, uint32_t most) {
  if (value < least || value > most)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s = %u; valid: %u to %u (the limits of prepare)", kName,
         what, value, least, most);
}

void in_range(const char* array, uint32_t i, int64_t value, int64_t least, int64_t most) {
  if (value < least || value > most)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s[%u] = %lld; valid: %lld to %lld", kName, array, i,
         static_cast<long long>(value), static_cast<long long>(least),
         static_cast<long long>(most));
}

void given(const void* pointer, const char* what) {
  if (pointer == nullptr)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s is NULL; valid: an array", kName, what);
}

/// begin[0] = 0, ascending, begin[n] = total or at most `most`.
void check_offsets(const char* array, const uint32_t* begin, uint32_t n, uint32_t most,
                   bool exact) {
  given(begin, array);
  in_range(array, 0, begin[0], 0, 0);
  for (uint32_t i = 1; i <= n; ++i) in_range(array, i, begin[i], begin[i - 1], most);
  if (exact) in_range(array, n, begin[n], most, most);
}

void check_rows(const Step& s, const ModelDesc& desc, const ModelLimits& limits) {
  given(s.positions, "positions");
  given(s.slots, "slots");
  const bool embeds = s.hidden_in == nullptr;
  if (embeds) given(s.tokens, "tokens");
  for (uint32_t i = 0; i < s.rows; ++i) {
    if (embeds)
      in_range("tokens", i, s.tokens[i], -static_cast<int64_t>(limits.slots), desc.vocab - 1);
    in_range("positions", i, s.positions[i], 0, static_cast<int64_t>(limits.context) - 1);
    in_range("slots", i, s.slots[i], -1, static_cast<int64_t>(limits.pages) * limits.page_size - 1);
  }
}

void check_sequences(const Step& s, const ModelLimits& limits) {
  check_offsets("query_begin", s.query_begin, s.sequences, s.rows, /*exact=*/true);
  check_offsets("page_begin", s.page_begin, s.sequences, limits.table_pages, /*exact=*/false);
  if (s.page_begin[s.sequences] != 0) given(s.pages, "pages");
  for (uint32_t q = 0; q < s.sequences; ++q) {
    const uint32_t first = s.page_begin[q], end = s.page_begin[q + 1];
    for (uint32_t p = first; p < end; ++p)
      if (s.pages[p] >= limits.pages)
        fail(TW_ERROR_INVALID_ARGUMENT,
             "%s: sequence %u, page %u of its table: page number %u; valid: 0 to %u", kName, q,
             p - first, s.pages[p], limits.pages - 1);
    const int64_t tokens = static_cast<int64_t>(end - first) * limits.page_size;
    for (uint32_t i = s.query_begin[q]; i < s.query_begin[q + 1]; ++i) {
      if (s.slots[i] < 0) continue;  // a padding row
      if (s.positions[i] >= tokens)
        fail(TW_ERROR_INVALID_ARGUMENT,
             "%s: sequence %u, row %u: position %d needs %u pages of %u tokens; its table has %u",
             kName, q, i, s.positions[i],
             static_cast<uint32_t>(s.positions[i]) / limits.page_size + 1, limits.page_size,
             end - first);
      if (i > s.query_begin[q] && s.positions[i] <= s.positions[i - 1])
        fail(TW_ERROR_INVALID_ARGUMENT,
             "%s: sequence %u, row %u: position %d comes after %d; valid: ascending", kName, q, i,
             s.positions[i], s.positions[i - 1]);
    }
  }
}

void check_sampling(const RowSampling& r, uint32_t i, const ModelLimits& limits) {
  const auto refuse = [&](const char* field, double value, const char* valid) {
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: sampling[%u].%s = %g; valid: %s", kName, i, field, value,
         valid);
  };
  if (!(r.temperature >= 0) || !std::isfinite(r.temperature))
    refuse("temperature", static_cast<double>(r.temperature), "0 or more");
  if (r.top_k < 0) refuse("top_k", r.top_k, "0 (all) or more");
  if (!(r.top_p > 0 && r.top_p <= 1))
    refuse("top_p", static_cast<double>(r.top_p), "above 0, up to 1");
  in_range("sampling.slot of row", i, r.slot, -1, static_cast<int64_t>(limits.slots) - 1);
}

void check_logits(const Step& s, const ModelDesc& desc, const ModelLimits& limits) {
  if (s.logit_rows != 0) given(s.logit_row, "logit_row");
  for (uint32_t i = 0; i < s.logit_rows; ++i) {
    in_range("logit_row", i, s.logit_row[i], 0, static_cast<int64_t>(s.rows) - 1);
    if (s.sampling != nullptr) check_sampling(s.sampling[i], i, limits);
  }
  if (s.logits == nullptr || s.logits_to == LogitsTo::kNone) return;
  const auto vocab = static_cast<size_t>(desc.vocab);
  if (s.logits_to != LogitsTo::kOwnShard && s.logits_stride != 0 && s.logits_stride < vocab)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: logits_stride = %zu; valid: %zu (the vocabulary) or more",
         kName, s.logits_stride, vocab);
}

template <class T>
void copy(std::vector<T>& to, const T* from, size_t n) {
  if (from != nullptr) std::copy_n(from, n, to.begin());
}

size_t mask_words(const ModelDesc& desc) { return (static_cast<size_t>(desc.vocab) + 31) / 32; }

}  // namespace

void check_step(const Step& s, const ModelDesc& desc, const ModelLimits& limits) {
  at_most("rows", s.rows, 1, limits.rows);
  at_most("sequences", s.sequences, 1, limits.sequences);
  at_most("logit_rows", s.logit_rows, 0, limits.logit_rows);
  const auto layers = static_cast<uint32_t>(desc.layers);
  const uint32_t last = std::min(s.last_layer, layers);
  if (s.first_layer > last)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: first_layer = %u; valid: 0 to %u (last_layer)", kName,
         s.first_layer, last);
  if (s.first_layer != 0 && s.hidden_in == nullptr)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: first_layer = %u with hidden_in NULL; valid: rows x hidden values", kName,
         s.first_layer);
  if (last != layers && s.logit_rows != 0)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: logit_rows = %u with last_layer = %u; valid: 0 when layers are left out at the end",
         kName, s.logit_rows, last);
  check_rows(s, desc, limits);
  check_sequences(s, limits);
  check_logits(s, desc, limits);
}

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
