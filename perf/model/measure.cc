#include "perf/model/measure.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "perf/gemm/numbers.h"
#include "perf/runner/loops.h"
#include "perf/runner/values.h"
#include "tilewire/cpp.h"

namespace tw::perf {

namespace {

constexpr double kElement = 2;        // bytes: bf16
constexpr uint16_t kPoison = 0xffff;  // no number, as a bf16
constexpr tw_sampling_t kGreedy = {0, 0, 1, -1, 0};

// Between -1 and 1, in steps of 1/128; neighbours in a row and in a column differ.
std::vector<uint16_t> make_rows(size_t rows, size_t columns) {
  std::vector<uint16_t> values(rows * columns);
  for (size_t i = 0; i < values.size(); ++i)
    store_value(values.data(), i, TW_BF16,
                (static_cast<double>((i * 97 + i / columns * 31) % 257) - 128) / 128);
  return values;
}

template <class T>
uint64_t count_differences(const std::vector<T>& a, const std::vector<T>& b) {
  uint64_t count = 0;
  for (size_t i = 0; i < a.size(); ++i) count += a[i] != b[i];
  return count;
}

bool is_number(int32_t token) { return token >= 0; }
bool is_number(float value) { return std::isfinite(value); }
bool is_number(uint16_t bits) { return std::isfinite(bf16_value(bits)); }

template <class T>
uint64_t count_no_numbers(const std::vector<T>& values) {
  return static_cast<uint64_t>(
      std::count_if(values.begin(), values.end(), [](T value) { return !is_number(value); }));
}

}  // namespace

tw_model_desc_t describe(tw_model_t model) {
  tw_model_desc_t desc = TW_MODEL_DESC_INIT;
  cpp::check(tw_model_get_desc(model, &desc));
  if (desc.head_size == 0) desc.head_size = desc.hidden / desc.heads;
  return desc;
}

ModelMeasure::ModelMeasure(Backend& backend, tw_model_t model, const tw_model_limits_t& limits,
                           bool rows)
    : backend_(backend),
      model_(model),
      desc_(describe(model)),
      limits_(limits),
      rows_(rows),
      batch_(limits, desc_.vocab),
      sampling_(limits.sequences, kGreedy) {
  cpp::check(tw_model_prepare(model_, &limits_));
  cpp::check(tw_model_kv_create(model_, limits_.page_size, limits_.pages));
  if (rows_) rows_in_ = make_rows(limits_.rows, static_cast<size_t>(desc_.hidden));
}

void ModelMeasure::Results::poison(const ModelCase& c, size_t hidden) {
  const size_t drawn = hidden > 0 ? 0 : size_t{c.steps()} * c.batch;
  tokens.assign(drawn, -1);
  log_probabilities.assign(drawn, std::numeric_limits<float>::quiet_NaN());
  rows.assign(size_t{c.steps()} * c.rows() * hidden, kPoison);
}

// What was not written is no number, so it counts though it is the same on both sides.
uint64_t ModelMeasure::Results::differences(const Results& other) const {
  return count_differences(tokens, other.tokens) +
         count_differences(log_probabilities, other.log_probabilities) +
         count_differences(rows, other.rows) + count_no_numbers(tokens) +
         count_no_numbers(log_probabilities) + count_no_numbers(rows);
}

void ModelMeasure::compute_context(const ModelCase& c) {
  for (uint32_t at = 0; at < c.context; at += limits_.rows) {
    tw_step_t step = batch_.step(1, at, std::min(limits_.rows, c.context - at));
    if (rows_) {
      step.hidden_in = rows_in_.data();
      step.hidden_type = TW_BF16;
    }
    cpp::check(tw_model_step(model_, &step, nullptr));
  }
  batch_.spread(model_);
}

void ModelMeasure::set_up(const ModelCase& c) {
  if (c == current_) return;
  batch_.begin(c);
  compute_context(c);
  current_ = c;
}

double ModelMeasure::run(const ModelCase& c, Way way, Results* results) {
  const auto hidden = static_cast<size_t>(desc_.hidden);
  results->poison(c, rows_ ? hidden : 0);
  cpp::check(tw_model_set_tracing(model_, way == Way::kTraced ? 1 : 0));
  backend_.barrier();
  const double start = now_us();
  for (uint32_t at = 0; at < c.steps(); ++at) {
    tw_step_t step = batch_.step(c.batch, c.context + at, c.step_tokens());
    if (rows_) {
      step.hidden_in = rows_in_.data();
      step.hidden_out = results->rows.data() + size_t{at} * c.rows() * hidden;
      step.hidden_type = TW_BF16;
    } else {
      step.logit_rows = c.batch;
      step.sampling = sampling_.data();
      step.sampled = results->tokens.data() + size_t{at} * c.batch;
      step.log_probability = results->log_probabilities.data() + size_t{at} * c.batch;
    }
    cpp::check(way == Way::kOpByOp ? tw_model_step_by_ops(model_, &step)
                                   : tw_model_step(model_, &step, nullptr));
  }
  return backend_.max(now_us() - start);
}

ModelTimes ModelMeasure::time(const ModelCase& c, Way other, int warm, int rounds) {
  set_up(c);
  ModelTimes times;
  double wrong = 0;
  for (int round = -warm; round < rounds; ++round) {
    double us = 0, other_us = 0;
    for (const bool is_other : {other_first_, !other_first_})
      (is_other ? other_us : us) =
          run(c, is_other ? other : Way::kOneLaunch, is_other ? &other_ : &one_launch_);
    wrong += static_cast<double>(one_launch_.differences(other_));
    if (round < 0) continue;
    other_first_ = !other_first_;
    times.us.push_back(us);
    times.other_us.push_back(other_us);
  }
  times.wrong = static_cast<uint64_t>(backend_.sum(wrong));
  return times;
}

double weight_bytes(const tw_model_desc_t& desc) {
  const auto hidden = static_cast<double>(desc.hidden), ffn = static_cast<double>(desc.ffn);
  const auto heads = static_cast<double>(2 * desc.heads + 2 * desc.kv_heads);  // Q, O; K, V
  const double layer = hidden * static_cast<double>(desc.head_size) * heads + 3 * hidden * ffn;
  return kElement * static_cast<double>(desc.layers) * layer;
}

double kv_bytes(const tw_model_desc_t& desc) {
  return kElement * static_cast<double>(2 * desc.layers * desc.kv_heads * desc.head_size);
}

}  // namespace tw::perf
