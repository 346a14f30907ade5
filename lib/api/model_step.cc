// Steps of models: tilewire/model.h.
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "lib/api/group.h"
#include "lib/api/issue.h"
#include "lib/api/model.h"

namespace tw::api {
namespace {

// An array of the one is read as an array of the other.
static_assert(sizeof(RowSampling) == sizeof(tw_sampling_t));
static_assert(offsetof(RowSampling, temperature) == offsetof(tw_sampling_t, temperature));
static_assert(offsetof(RowSampling, top_k) == offsetof(tw_sampling_t, top_k));
static_assert(offsetof(RowSampling, top_p) == offsetof(tw_sampling_t, top_p));
static_assert(offsetof(RowSampling, slot) == offsetof(tw_sampling_t, slot));
static_assert(offsetof(RowSampling, seed) == offsetof(tw_sampling_t, seed));

void check_float(tw_type_t type, const char* function, const char* name) {
  if (type != TW_FP32 && type != TW_BF16)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s = %d; valid: TW_FP32, TW_BF16", function, name,
         static_cast<int>(type));
}

void check_limit(uint32_t value, uint32_t least, uint32_t limit, const char* function,
                 const char* name) {
  if (value < least || value > limit)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: step.%s = %u; valid: %u to %u, limits.%s", function, name,
         value, least, limit, name);
}

void check_sizes(const tw_step_t& s, const Model& model, const char* function) {
  const ModelLimits& limits = model.limits();
  check_limit(s.rows, 1, limits.rows, function, "rows");
  check_limit(s.sequences, 1, limits.sequences, function, "sequences");
  check_limit(s.logit_rows, 0, limits.logit_rows, function, "logit_rows");
}

void check_arrays(const tw_step_t& s, const char* function) {
  if (s.hidden_in == nullptr) require(s.tokens, function, "step.tokens");
  require(s.positions, function, "step.positions");
  require(s.slots, function, "step.slots");
  require(s.query_begin, function, "step.query_begin");
  require(s.page_begin, function, "step.page_begin");
  if (s.page_begin[s.sequences] != 0) require(s.pages, function, "step.pages");
  if (s.logit_rows != 0) require(s.logit_row, function, "step.logit_row");
  if (s.sampling == nullptr && (s.sampled != nullptr || s.log_probability != nullptr))
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: step.sampling is NULL, so no token is drawn; valid: step.sampled and "
         "step.log_probability NULL too",
         function);
  if (s.adapters == nullptr) return;
  for (uint32_t row = 0; row < s.rows; ++row)
    if (s.adapters[row] != 0)
      fail(TW_ERROR_UNSUPPORTED, "%s: step.adapters[%u] = %u; valid: 0 (reserved)", function, row,
           s.adapters[row]);
}

void check_part(const tw_step_t& s, const Model& model, const char* function) {
  const auto layers = static_cast<uint32_t>(model.desc().layers);
  require_range(s.first_layer, 0, layers, function, "step.first_layer");
  if (s.last_layer != TW_ALL_LAYERS)
    require_range(s.last_layer, s.first_layer, layers, function, "step.last_layer");
  if (s.first_layer != 0) require(s.hidden_in, function, "step.hidden_in");
  if (s.hidden_in != nullptr || s.hidden_out != nullptr)
    check_float(s.hidden_type, function, "step.hidden_type");
}

/// Elements of a row of logits at this rank, 0 where it gets none.
size_t logits_width(const tw_step_t& s, const Model& model) {
  const std::vector<size_t>& begin = model.vocab_begin();
  const auto rank = static_cast<size_t>(model.comm().rank());
  switch (s.logits_to) {
    case TW_LOGITS_TO_ALL:
      return begin.back();
    case TW_LOGITS_TO_ONE:
      return model.comm().rank() == s.logits_rank ? begin.back() : 0;
    case TW_LOGITS_TO_OWN_SHARD:
      return begin[rank + 1] - begin[rank];
    default:
      return 0;
  }
}

/// The stride of the logits.
size_t check_logits(const tw_step_t& s, const Model& model, const char* function) {
  require_range(static_cast<int>(s.logits_to), TW_LOGITS_TO_NONE, TW_LOGITS_TO_OWN_SHARD, function,
                "step.logits_to");
  if (s.logits_to == TW_LOGITS_TO_NONE) return 0;
  check_float(s.logits_type, function, "step.logits_type");
  if (s.logits_to == TW_LOGITS_TO_ONE)
    require_range(s.logits_rank, 0, model.comm().size() - 1, function, "step.logits_rank");
  const size_t width = logits_width(s, model);
  if (width != 0 && s.logit_rows != 0) require(s.logits, function, "step.logits");
  if (s.logits_stride != 0 && s.logits_stride < width)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: step.logits_stride = %zu; valid: 0, or %zu and more",
         function, s.logits_stride, width);
  return s.logits_stride != 0 ? s.logits_stride : width;
}

LogitsTo destination(tw_logits_to_t to) { return static_cast<LogitsTo>(to); }
static_assert(static_cast<int>(LogitsTo::kNone) == TW_LOGITS_TO_NONE);
static_assert(static_cast<int>(LogitsTo::kAll) == TW_LOGITS_TO_ALL);
static_assert(static_cast<int>(LogitsTo::kOne) == TW_LOGITS_TO_ONE);
static_assert(static_cast<int>(LogitsTo::kOwnShard) == TW_LOGITS_TO_OWN_SHARD);

}  // namespace

Step checked_step(const tw_step_t* step, const Model& model, const char* function) {
  require(step, function, "step");
  const tw_step_t s = versioned(step, tw_step_t TW_STEP_INIT, "tw_step_t");
  if (!model.prepared())
    fail(TW_ERROR_INVALID_STATE, "%s: the model is not prepared; call tw_model_prepare first",
         function);
  check_sizes(s, model, function);
  check_part(s, model, function);
  check_arrays(s, function);
  Step result;
  result.logits_stride = check_logits(s, model, function);
  result.rows = s.rows;
  result.sequences = s.sequences;
  result.logit_rows = s.logit_rows;
  result.tokens = s.tokens;
  result.positions = s.positions;
  result.slots = s.slots;
  result.query_begin = s.query_begin;
  result.page_begin = s.page_begin;
  result.pages = s.pages;
  result.logit_row = s.logit_row;
  result.sampling = reinterpret_cast<const RowSampling*>(s.sampling);
  result.allowed = s.allowed;
  result.sampled = s.sampled;
  result.log_probability = s.log_probability;
  result.logits_to = destination(s.logits_to);
  result.logits_rank = s.logits_rank;
  result.logits = logits_width(s, model) != 0 ? s.logits : nullptr;
  result.logits_type = s.logits_type;
  result.first_layer = s.first_layer;
  result.last_layer = s.last_layer;
  result.hidden_in = s.hidden_in;
  result.hidden_out = s.hidden_out;
  result.hidden_type = s.hidden_type;
  return result;
}

}  // namespace tw::api

using namespace tw;       // NOLINT(google-build-using-namespace): entry points of this layer
using namespace tw::api;  // NOLINT(google-build-using-namespace): entry points of this layer

tw_status_t tw_model_step(tw_model_t model, const tw_step_t* step, tw_stream_t stream) {
  return guard([&] {
    group::refuse_call("tw_model_step");
    const ModelInUse m(model);
    check_ready(m->comm(), stream);
    m->step(checked_step(step, *m, "tw_model_step"), stream);
  });
}

tw_status_t tw_model_step_by_ops(tw_model_t model, const tw_step_t* step) {
  return guard([&] {
    group::refuse_call("tw_model_step_by_ops");
    const ModelInUse m(model);
    check_ready(m->comm(), nullptr);
    m->step_by_ops(checked_step(step, *m, "tw_model_step_by_ops"));
  });
}
