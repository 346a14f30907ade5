#include "lib/model/step_check.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "lib/base/error.h"

namespace tw {

namespace {

class StepCheck {
 public:
  StepCheck(const Step& step, const ModelDesc& desc, const ModelLimits& limits, SlotTable* slots,
            const char* function)
      : s_(step), desc_(desc), limits_(limits), slots_(*slots), function_(function) {}

  void run() {
    check_sizes();
    check_rows();
    check_slots();
    check_sequences();
    check_logits();
  }

 private:
  void check_sizes() const;
  void check_rows() const;
  void check_slots();
  void check_sequences() const;
  void check_sequence(uint32_t q) const;
  void check_logits() const;
  void check_sampling(uint32_t i) const;
  void check_offsets(const char* array, const uint32_t* begin, uint32_t n, uint32_t most) const;
  void at_most(const char* what, uint32_t value, uint32_t least, uint32_t most) const;
  void in_range(const char* array, uint32_t i, int64_t value, int64_t least, int64_t most) const;
  void given(const void* pointer, const char* what) const;

  const Step& s_;
  const ModelDesc& desc_;
  const ModelLimits& limits_;
  SlotTable& slots_;
  const char* const function_;
};

void StepCheck::at_most(const char* what, uint32_t value, uint32_t least, uint32_t most) const {
  if (value < least || value > most)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s = %u; valid: %u to %u (the limits of prepare)",
         function_, what, value, least, most);
}

void StepCheck::in_range(const char* array, uint32_t i, int64_t value, int64_t least,
                         int64_t most) const {
  if (value < least || value > most)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s[%u] = %lld; valid: %lld to %lld", function_, array, i,
         static_cast<long long>(value), static_cast<long long>(least),
         static_cast<long long>(most));
}

void StepCheck::given(const void* pointer, const char* what) const {
  if (pointer == nullptr)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s is NULL; valid: an array", function_, what);
}

void StepCheck::check_sizes() const {
  at_most("rows", s_.rows, 1, limits_.rows);
  at_most("sequences", s_.sequences, 1, limits_.sequences);
  at_most("logit_rows", s_.logit_rows, 0, limits_.logit_rows);
  const auto layers = static_cast<uint32_t>(desc_.layers);
  const uint32_t last = std::min(s_.last_layer, layers);
  if (s_.first_layer > last)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: first_layer = %u; valid: 0 to %u (last_layer)", function_,
         s_.first_layer, last);
  if (s_.first_layer != 0 && s_.hidden_in == nullptr)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: first_layer = %u with hidden_in NULL; valid: rows x hidden values", function_,
         s_.first_layer);
  if (last != layers && s_.logit_rows != 0)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: logit_rows = %u with last_layer = %u; valid: 0 when layers are left out at the end",
         function_, s_.logit_rows, last);
}

void StepCheck::check_rows() const {
  given(s_.positions, "positions");
  given(s_.slots, "slots");
  const bool embeds = s_.hidden_in == nullptr;
  if (embeds) given(s_.tokens, "tokens");
  const int64_t slots = static_cast<int64_t>(limits_.pages) * limits_.page_size;
  for (uint32_t i = 0; i < s_.rows; ++i) {
    if (embeds)
      in_range("tokens", i, s_.tokens[i], -static_cast<int64_t>(limits_.slots), desc_.vocab - 1);
    in_range("positions", i, s_.positions[i], 0, static_cast<int64_t>(limits_.context) - 1);
    in_range("slots", i, s_.slots[i], -1, slots - 1);
  }
}

/// No two rows write their keys and values to one place.
void StepCheck::check_slots() {
  const auto [row, first] = slots_.find_twice(s_.slots, s_.rows);
  if (row == s_.rows) return;
  fail(TW_ERROR_INVALID_ARGUMENT, "%s: slots[%u] = %lld, as slots[%u]; valid: a place of its own",
       function_, row, static_cast<long long>(s_.slots[row]), first);
}

/// begin[0] = 0, ascending, begin[n] at most `most`.
void StepCheck::check_offsets(const char* array, const uint32_t* begin, uint32_t n,
                              uint32_t most) const {
  given(begin, array);
  in_range(array, 0, begin[0], 0, 0);
  for (uint32_t i = 1; i <= n; ++i) in_range(array, i, begin[i], begin[i - 1], most);
}

void StepCheck::check_sequences() const {
  check_offsets("query_begin", s_.query_begin, s_.sequences, s_.rows);
  in_range("query_begin", s_.sequences, s_.query_begin[s_.sequences], s_.rows, s_.rows);
  check_offsets("page_begin", s_.page_begin, s_.sequences, limits_.table_pages);
  if (s_.page_begin[s_.sequences] != 0) given(s_.pages, "pages");
  for (uint32_t q = 0; q < s_.sequences; ++q) check_sequence(q);
}

void StepCheck::check_sequence(uint32_t q) const {
  const uint32_t first = s_.page_begin[q], end = s_.page_begin[q + 1];
  for (uint32_t p = first; p < end; ++p)
    if (s_.pages[p] >= limits_.pages)
      fail(TW_ERROR_INVALID_ARGUMENT,
           "%s: sequence %u, page %u of its table: page number %u; valid: 0 to %u", function_, q,
           p - first, s_.pages[p], limits_.pages - 1);
  const int64_t tokens = static_cast<int64_t>(end - first) * limits_.page_size;
  for (uint32_t i = s_.query_begin[q]; i < s_.query_begin[q + 1]; ++i) {
    if (s_.slots[i] < 0) continue;  // a padding row
    const int32_t position = s_.positions[i];
    if (position >= tokens)
      fail(TW_ERROR_INVALID_ARGUMENT,
           "%s: sequence %u, row %u: position %d needs %u pages of %u tokens; its table has %u",
           function_, q, i, position, static_cast<uint32_t>(position) / limits_.page_size + 1,
           limits_.page_size, end - first);
    if (i > s_.query_begin[q] && position <= s_.positions[i - 1])
      fail(TW_ERROR_INVALID_ARGUMENT,
           "%s: sequence %u, row %u: position %d comes after %d; valid: ascending", function_, q, i,
           position, s_.positions[i - 1]);
  }
}

void StepCheck::check_logits() const {
  if (s_.logit_rows != 0) given(s_.logit_row, "logit_row");
  for (uint32_t i = 0; i < s_.logit_rows; ++i) {
    in_range("logit_row", i, s_.logit_row[i], 0, static_cast<int64_t>(s_.rows) - 1);
    if (s_.sampling != nullptr) check_sampling(i);
  }
}

void StepCheck::check_sampling(uint32_t i) const {
  const RowSampling& r = s_.sampling[i];
  const auto refuse = [&](const char* field, double value, const char* valid) {
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: sampling[%u].%s = %g; valid: %s", function_, i, field,
         value, valid);
  };
  if (!(r.temperature >= 0) || !std::isfinite(r.temperature))
    refuse("temperature", static_cast<double>(r.temperature), "0 or more");
  if (r.top_k < 0) refuse("top_k", r.top_k, "0 (all) or more");
  if (!(r.top_p > 0 && r.top_p <= 1))
    refuse("top_p", static_cast<double>(r.top_p), "above 0, up to 1");
  in_range("sampling.slot of row", i, r.slot, -1, static_cast<int64_t>(limits_.slots) - 1);
}

}  // namespace

size_t SlotTable::places(uint32_t rows) { return std::bit_ceil(size_t{2} * rows); }
size_t SlotTable::bytes(uint32_t rows) { return places(rows) * sizeof(Place); }

SlotTable::SlotTable(uint32_t rows) : mask_(places(rows) - 1), memory_(bytes(rows)) {}

std::pair<uint32_t, uint32_t> SlotTable::find_twice(const int64_t* slots, uint32_t rows) {
  if (++turn_ == 0) {  // places of 2^32 steps ago
    std::memset(memory_.data(), 0, (mask_ + 1) * sizeof(Place));
    turn_ = 1;
  }
  for (uint32_t i = 0; i < rows; ++i) {
    if (slots[i] < 0) continue;
    size_t at = static_cast<size_t>(slots[i]) * UINT64_C(0x9E3779B97F4A7C15) >> 32 & mask_;
    for (; table()[at].turn == turn_; at = (at + 1) & mask_)
      if (slots[table()[at].row] == slots[i]) return {i, table()[at].row};
    table()[at] = {turn_, i};
  }
  return {rows, rows};
}

void check_step(const Step& step, const ModelDesc& desc, const ModelLimits& limits,
                SlotTable* slots, const char* function) {
  StepCheck(step, desc, limits, slots, function).run();
}

}  // namespace tw
