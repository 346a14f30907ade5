// The structs of tilewire/model.h, checked and as lib/model has them.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "lib/api/model.h"

namespace tw::api {
namespace {

constexpr uint32_t kDefaultPageSize = 16;

void check_flag(int value, const char* function, const char* name) {
  require_range(value, 0, 1, function, name);
}

RopeScaling scaling_of(const tw_model_desc_t& desc, const char* function) {
  require_range(static_cast<int>(desc.rope_scaling), TW_ROPE_SCALING_NONE, TW_ROPE_SCALING_LLAMA3,
                function, "desc.rope_scaling");
  if (desc.rope_scaling == TW_ROPE_SCALING_LLAMA3 &&
      !(desc.rope_low_freq_factor < desc.rope_high_freq_factor))
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: desc.rope_high_freq_factor = %g; valid: more than rope_low_freq_factor (%g)",
         function, static_cast<double>(desc.rope_high_freq_factor),
         static_cast<double>(desc.rope_low_freq_factor));
  return static_cast<RopeScaling>(desc.rope_scaling);
}
static_assert(static_cast<int>(RopeScaling::kLinear) == TW_ROPE_SCALING_LINEAR);
static_assert(static_cast<int>(RopeScaling::kLlama3) == TW_ROPE_SCALING_LLAMA3);

void set_flags(const tw_model_desc_t& desc, ModelDesc* to, const char* function) {
  const struct {
    int value;
    const char* name;
    bool* flag;
  } flags[] = {{desc.tied_embeddings, "desc.tied_embeddings", &to->tied_embeddings},
               {desc.q_bias, "desc.q_bias", &to->q_bias},
               {desc.k_bias, "desc.k_bias", &to->k_bias},
               {desc.v_bias, "desc.v_bias", &to->v_bias},
               {desc.o_bias, "desc.o_bias", &to->o_bias},
               {desc.mlp_bias, "desc.mlp_bias", &to->mlp_bias},
               {desc.qk_norm, "desc.qk_norm", &to->qk_norm}};
  for (const auto& flag : flags) {
    check_flag(flag.value, function, flag.name);
    *flag.flag = flag.value != 0;
  }
}

}  // namespace

ModelDesc checked_desc(const tw_model_desc_t* desc, const char* function) {
  const tw_model_desc_t d = versioned(desc, tw_model_desc_t TW_MODEL_DESC_INIT, "tw_model_desc_t");
  ModelDesc result;
  result.layers = d.layers;
  result.hidden = d.hidden;
  result.heads = d.heads;
  result.kv_heads = d.kv_heads;
  result.head_size = d.head_size == 0 && d.heads > 0 ? d.hidden / d.heads : d.head_size;
  result.ffn = d.ffn;
  result.vocab = d.vocab;
  result.context = d.context;
  result.rms_epsilon = d.rms_norm_eps;
  result.rope_theta = d.rope_theta;
  result.rope_scaling = scaling_of(d, function);
  result.rope_factor = d.rope_factor;
  result.rope_low_freq_factor = d.rope_low_freq_factor;
  result.rope_high_freq_factor = d.rope_high_freq_factor;
  result.rope_original_context = d.rope_original_context;
  result.sliding_window = d.sliding_window;
  set_flags(d, &result, function);
  const std::string place = std::string(function) + ": desc";
  if (d.rope_divisors == nullptr) {
    set_rope_divisors(&result);
  } else {
    check_desc(result, place);  // before so many of them are read
    result.rope_divisors.assign(d.rope_divisors, d.rope_divisors + result.head_size / 2);
  }
  check_desc(result, place);
  return result;
}

tw_model_desc_t described(const ModelDesc& desc) {
  tw_model_desc_t d = TW_MODEL_DESC_INIT;
  d.layers = desc.layers;
  d.hidden = desc.hidden;
  d.heads = desc.heads;
  d.kv_heads = desc.kv_heads;
  d.head_size = desc.head_size;
  d.ffn = desc.ffn;
  d.vocab = desc.vocab;
  d.context = desc.context;
  d.rms_norm_eps = desc.rms_epsilon;
  d.rope_theta = desc.rope_theta;
  d.rope_scaling = static_cast<tw_rope_scaling_t>(desc.rope_scaling);
  d.rope_factor = desc.rope_factor;
  d.rope_low_freq_factor = desc.rope_low_freq_factor;
  d.rope_high_freq_factor = desc.rope_high_freq_factor;
  d.rope_original_context = desc.rope_original_context;
  d.rope_divisors = desc.rope_divisors.empty() ? nullptr : desc.rope_divisors.data();
  d.sliding_window = desc.sliding_window;
  d.tied_embeddings = desc.tied_embeddings ? 1 : 0;
  d.q_bias = desc.q_bias ? 1 : 0;
  d.k_bias = desc.k_bias ? 1 : 0;
  d.v_bias = desc.v_bias ? 1 : 0;
  d.o_bias = desc.o_bias ? 1 : 0;
  d.mlp_bias = desc.mlp_bias ? 1 : 0;
  d.qk_norm = desc.qk_norm ? 1 : 0;
  return d;
}

ModelLimits checked_limits(const tw_model_limits_t* limits, const Model& model,
                           const char* function) {
  const tw_model_limits_t l =
      versioned(limits, tw_model_limits_t TW_MODEL_LIMITS_INIT, "tw_model_limits_t");
  require_range(l.rows, 1, INT32_MAX, function, "limits.rows");
  require_range(l.sequences, 1, l.rows, function, "limits.sequences");
  require_range(l.logit_rows, 0, l.rows, function, "limits.logit_rows");
  require_range(l.context, 0, INT32_MAX, function, "limits.context");
  require_range(l.page_size, 0, INT32_MAX, function, "limits.page_size");
  require_range(l.pages, 1, INT32_MAX, function, "limits.pages");
  ModelLimits result;
  result.rows = l.rows;
  result.sequences = l.sequences;
  result.logit_rows = l.logit_rows;
  result.context = l.context != 0 ? l.context : static_cast<uint32_t>(model.desc().context);
  result.page_size = l.page_size != 0 ? l.page_size : kDefaultPageSize;
  result.pages = l.pages;
  const uint64_t whole = (uint64_t{result.context} + result.page_size - 1) / result.page_size;
  result.table_pages =
      l.table_pages != 0
          ? l.table_pages
          : static_cast<uint32_t>(std::min<uint64_t>(whole * l.sequences, UINT32_MAX));
  result.slots = l.slots;
  return result;
}

}  // namespace tw::api
